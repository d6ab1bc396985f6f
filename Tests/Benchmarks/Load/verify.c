// SPDX-License-Identifier: Apache-2.0

// What the TLS library takes to verify a chain: X509_verify_cert, with the store made before.

#define _GNU_SOURCE
#include "bench.h"

#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <stdio.h>

// Leaf first, then what it is shown with.
#define CHAIN_MAX 4

struct der {
    unsigned char *bytes;
    int count;
};

static int read_certificates(const char *path, X509 **certificates) {
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        fail(path);
    }
    int count = 0;
    while (count < CHAIN_MAX
           && (certificates[count] = PEM_read_X509(file, NULL, NULL, NULL)) != NULL) {
        count++;
    }
    fclose(file);
    if (count == 0) {
        fail("no certificate");
    }
    return count;
}

// Read again each time, as each handshake does: what was read keeps what was found.
static X509 *read_again(const struct der *der) {
    const unsigned char *at = der->bytes;
    return d2i_X509(NULL, &at, der->count);
}

static bool verifies(X509_STORE *store, const struct der *chain, int count) {
    X509 *leaf = read_again(&chain[0]);
    STACK_OF(X509) *others = sk_X509_new_null();
    X509_STORE_CTX *context = X509_STORE_CTX_new();
    bool good = leaf != NULL && others != NULL && context != NULL;
    for (int i = 1; good && i < count; i++) {
        X509 *other = read_again(&chain[i]);
        good = other != NULL && sk_X509_push(others, other) > 0;
    }
    good = good && X509_STORE_CTX_init(context, store, leaf, others) == 1
           && X509_verify_cert(context) == 1;
    X509_STORE_CTX_free(context);
    sk_X509_pop_free(others, X509_free);
    X509_free(leaf);
    return good;
}

int verify_run(const struct options *options) {
    X509_STORE *store = X509_STORE_new();
    X509 *authorities[CHAIN_MAX], *shown[CHAIN_MAX];
    struct der chain[CHAIN_MAX] = {{0}};
    read_certificates(options->authorities, authorities);
    int count = read_certificates(options->certificate, shown);
    for (int i = 0; i < count; i++) {
        chain[i].count = i2d_X509(shown[i], &chain[i].bytes);
        if (chain[i].count <= 0) {
            fail("i2d_X509");
        }
    }
    if (store == NULL || X509_STORE_add_cert(store, authorities[0]) != 1) {
        fail("X509_STORE");
    }
    uint64_t start = now_ns();
    for (int done = 0; done < options->count; done++) {
        if (!verifies(store, chain, count)) {
            fprintf(stderr, "signet-bench-load: the certificate does not verify\n");
            return 1;
        }
    }
    printf("{\"nanoseconds\": %llu}\n", (unsigned long long)(now_ns() - start));
    return 0;
}
