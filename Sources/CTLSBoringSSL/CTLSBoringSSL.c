// SPDX-License-Identifier: Apache-2.0

#include "CTLSBoringSSL.h"

#include <CNIOBoringSSL.h>
#include <pthread.h>
#include <strings.h>

#include "CTLSProvider.h"

// Certificates that many connections show are held once. The pool outlives every session.
static CRYPTO_BUFFER_POOL *pool;
static pthread_once_t pool_once = PTHREAD_ONCE_INIT;
static void make_pool(void) { pool = CRYPTO_BUFFER_POOL_new(); }

static enum ssl_verify_result_t verify(SSL *ssl, uint8_t *alert) {
    const STACK_OF(CRYPTO_BUFFER) *presented = SSL_get0_peer_certificates(ssl);
    ctls_chain chain = {.count = presented == NULL ? 0 : sk_CRYPTO_BUFFER_num(presented)};
    for (size_t index = 0; index < chain.count && index < CTLS_CHAIN_COUNT_MAX; index++) {
        CRYPTO_BUFFER *buffer = sk_CRYPTO_BUFFER_value(presented, index);
        chain.certificates[index] =
            (ctls_bytes){CRYPTO_BUFFER_data(buffer), CRYPTO_BUFFER_len(buffer)};
        chain.parsed[index] = X509_parse_from_buffer(buffer);
    }
    *alert = ctls_judge(ssl, &chain);
    ctls_chain_forget(&chain);
    return *alert == 0 ? ssl_verify_ok : ssl_verify_invalid;
}

static SSL_CTX *ctls_context_new_ssl(const ctls_options *options) {
    (void)options;
    pthread_once(&pool_once, make_pool);
    // Without X.509 objects a connection keeps nothing of its peer's chain but the shared bytes.
    SSL_CTX *ssl = pool == NULL ? NULL : SSL_CTX_new(TLS_with_buffers_method());
    if (ssl == NULL) return NULL;
    SSL_CTX_set0_buffer_pool(ssl, pool);
    SSL_CTX_set_custom_verify(
        ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, verify
    );
    return ssl;
}

static ctls_identity_result ctls_context_set_identity(
    SSL_CTX *ssl, const ctls_bytes *chain, size_t chain_count, EVP_PKEY *key
) {
    CRYPTO_BUFFER **buffers = calloc(chain_count, sizeof *buffers);
    if (buffers == NULL) return ctls_identity_no_memory;
    ctls_identity_result result = ctls_identity_ok;
    for (size_t index = 0; index < chain_count && result == ctls_identity_ok; index++) {
        X509 *parsed = ctls_parse_certificate(chain[index]);
        if (parsed == NULL) {
            result = ctls_identity_certificate_unreadable;
        } else if (index == 0 && X509_check_private_key(parsed, key) != 1) {
            result = ctls_identity_key_differs;
        } else {
            buffers[index] = CRYPTO_BUFFER_new(chain[index].bytes, chain[index].count, pool);
            if (buffers[index] == NULL) result = ctls_identity_no_memory;
        }
        X509_free(parsed);
    }
    if (result == ctls_identity_ok
        && SSL_CTX_set_chain_and_key(ssl, buffers, chain_count, key, NULL) != 1)
        result = ctls_identity_certificate_unreadable;
    for (size_t index = 0; index < chain_count; index++) CRYPTO_BUFFER_free(buffers[index]);
    free(buffers);
    return result;
}

static ctls_session *session_new(ctls_context *context, const char *name) {
    ctls_session *session = ctls_session_new(context, name);
    // What only the handshake needs goes when it is over.
    if (session != NULL) SSL_set_shed_handshake_config(ctls_ssl(session), 1);
    return session;
}

static bool session_update_keys(ctls_session *session) {
    return SSL_key_update(ctls_ssl(session), SSL_KEY_UPDATE_REQUESTED) == 1;
}

static uint16_t session_group(const ctls_session *session) {
    return SSL_get_group_id(ctls_ssl(session));
}

static const char *version(void) { return "BoringSSL of swift-nio-ssl 2.37.6"; }

static bool knows_group(uint16_t group) { return ctls_group_name(group) != NULL; }

const ctls_provider *ctls_boringssl(void) {
    static const ctls_provider provider = {
        CTLS_PROVIDER_TABLE,
        .version = version,
        .knows_group = knows_group,
        .session_new = session_new,
        .session_update_keys = session_update_keys,
        .session_group = session_group,
    };
    return &provider;
}
