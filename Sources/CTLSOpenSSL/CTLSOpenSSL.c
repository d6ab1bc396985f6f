// SPDX-License-Identifier: Apache-2.0

#include "CTLSOpenSSL.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <strings.h>

#include "CTLSProvider.h"

// OpenSSL hands over parsed certificates; what they are judged by is written out again. What was
// signed is kept as it came, so only the frame around it can differ from what the peer sent.
static int verify(X509_STORE_CTX *verification, void *argument) {
    (void)argument;
    const SSL *ssl = X509_STORE_CTX_get_ex_data(
        verification, SSL_get_ex_data_X509_STORE_CTX_idx()
    );
    // The whole chain: the leaf is its first.
    STACK_OF(X509) *presented = X509_STORE_CTX_get0_untrusted(verification);
    ctls_chain chain = {.count = presented == NULL ? 0 : (size_t)sk_X509_num(presented)};
    uint8_t *written[CTLS_CHAIN_COUNT_MAX] = {NULL};
    bool is_complete = ssl != NULL;
    for (size_t index = 0; index < chain.count && index < CTLS_CHAIN_COUNT_MAX; index++) {
        chain.parsed[index] = sk_X509_value(presented, (int)index);
        int count = i2d_X509(chain.parsed[index], &written[index]);
        is_complete = is_complete && count > 0;
        chain.certificates[index] = (ctls_bytes){written[index], count > 0 ? (size_t)count : 0};
    }
    uint8_t alert = is_complete ? ctls_judge(ssl, &chain) : SSL_AD_INTERNAL_ERROR;
    for (size_t index = 0; index < CTLS_CHAIN_COUNT_MAX; index++) OPENSSL_free(written[index]);
    // The library finds the alert by the error.
    int error;
    switch (alert) {
    case 0: error = X509_V_OK; break;
    case SSL_AD_BAD_CERTIFICATE: error = X509_V_ERR_CERT_REJECTED; break;
    case SSL_AD_UNSUPPORTED_CERTIFICATE: error = X509_V_ERR_INVALID_PURPOSE; break;
    case SSL_AD_CERTIFICATE_REVOKED: error = X509_V_ERR_CERT_REVOKED; break;
    case SSL_AD_CERTIFICATE_EXPIRED: error = X509_V_ERR_CERT_HAS_EXPIRED; break;
    case SSL_AD_UNKNOWN_CA: error = X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY; break;
    case SSL_AD_INTERNAL_ERROR: error = X509_V_ERR_OUT_OF_MEM; break;
    default: error = X509_V_ERR_APPLICATION_VERIFICATION;
    }
    X509_STORE_CTX_set_error(verification, error);
    return alert == 0;
}

static SSL_CTX *ctls_context_new_ssl(const ctls_options *options) {
    SSL_CTX *ssl =
        SSL_CTX_new(options->is_server ? TLS_server_method() : TLS_client_method());
    if (ssl == NULL) return NULL;
    SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_cert_verify_callback(ssl, verify, NULL);
    SSL_CTX_set_num_tickets(ssl, 0);
    SSL_CTX_set_max_early_data(ssl, 0);
    SSL_CTX_set_recv_max_early_data(ssl, 0);
    SSL_CTX_set_ciphersuites(
        ssl, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
    );
    return ssl;
}

static ctls_identity_result ctls_context_set_identity(
    SSL_CTX *ssl, const ctls_bytes *chain, size_t chain_count, EVP_PKEY *key
) {
    for (size_t index = 0; index < chain_count; index++) {
        X509 *parsed = ctls_parse_certificate(chain[index]);
        if (parsed == NULL) return ctls_identity_certificate_unreadable;
        bool is_ours = index > 0 || X509_check_private_key(parsed, key) == 1;
        bool is_taken = is_ours
            && (index == 0 ? SSL_CTX_use_certificate(ssl, parsed) == 1
                           : SSL_CTX_add1_chain_cert(ssl, parsed) == 1);
        X509_free(parsed);
        if (!is_ours) return ctls_identity_key_differs;
        if (!is_taken) return ctls_identity_certificate_unreadable;
    }
    return SSL_CTX_use_PrivateKey(ssl, key) == 1 ? ctls_identity_ok
                                                 : ctls_identity_key_differs;
}

static bool session_update_keys(ctls_session *session) {
    return SSL_key_update(ctls_ssl(session), SSL_KEY_UPDATE_REQUESTED) == 1;
}

static uint16_t session_group(const ctls_session *session) {
    switch (SSL_get_negotiated_group(ctls_ssl(session))) {
    case NID_X25519: return 0x001D;
    case NID_X9_62_prime256v1: return 0x0017;
    default: return 0;
    }
}

static const char *version(void) { return OpenSSL_version(OPENSSL_VERSION); }

// The hybrid group came with 3.5; what is linked may be older than what was compiled against.
static bool knows_group(uint16_t group) {
    return ctls_group_name(group) != NULL
        && (group != 0x11EC || OpenSSL_version_num() >= 0x30500000L);
}

const ctls_provider *ctls_openssl(void) {
    static const ctls_provider provider = {
        CTLS_PROVIDER_TABLE,
        .version = version,
        .knows_group = knows_group,
        .session_new = ctls_session_new,
        .session_update_keys = session_update_keys,
        .session_group = session_group,
    };
    return &provider;
}
