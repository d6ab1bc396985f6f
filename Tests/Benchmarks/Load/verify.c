// SPDX-License-Identifier: Apache-2.0

// What the TLS library takes to verify a chain: X509_verify_cert, with the store made before.

#define _GNU_SOURCE
#include "bench.h"

#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <stdio.h>

static X509 *read_certificate(const char *path) {
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        fail(path);
    }
    X509 *certificate = PEM_read_X509(file, NULL, NULL, NULL);
    fclose(file);
    if (certificate == NULL) {
        fail("no certificate");
    }
    return certificate;
}

int verify_run(const struct options *options) {
    X509_STORE *store = X509_STORE_new();
    X509 *authority = read_certificate(options->authorities);
    X509 *read = read_certificate(options->certificate);
    unsigned char *der = NULL;
    int bytes = i2d_X509(read, &der);
    if (store == NULL || bytes <= 0 || X509_STORE_add_cert(store, authority) != 1) {
        fail("X509_STORE");
    }
    uint64_t start = now_ns();
    for (int done = 0; done < options->count; done++) {
        // Read again each time, as each handshake does: what was read keeps what was found.
        const unsigned char *at = der;
        X509 *leaf = d2i_X509(NULL, &at, bytes);
        X509_STORE_CTX *context = X509_STORE_CTX_new();
        if (leaf == NULL || context == NULL
            || X509_STORE_CTX_init(context, store, leaf, NULL) != 1
            || X509_verify_cert(context) != 1) {
            fprintf(stderr, "signet-bench-load: the certificate does not verify\n");
            return 1;
        }
        X509_STORE_CTX_free(context);
        X509_free(leaf);
    }
    printf("{\"nanoseconds\": %llu}\n", (unsigned long long)(now_ns() - start));
    return 0;
}
