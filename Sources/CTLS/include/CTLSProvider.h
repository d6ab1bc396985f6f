// SPDX-License-Identifier: Apache-2.0
//
// What both libraries do alike, compiled once against each: a shim includes its library's headers
// and this one, and adds what differs.
#pragma once

#include "CTLS.h"

// The nullability of the header is for Swift; inside, every pointer is looked at.
#pragma clang diagnostic ignored "-Wnullability-completeness"

#include <stdlib.h>
#include <string.h>

// MARK: Bytes in and out

// The data of the BIO during one call. It lives on the stack of that call.
typedef struct {
    ctls_bytes input;
    uint8_t *output;
    size_t output_count;
    size_t produced;
    uint32_t post_handshake_messages;
    ctls_verify verify;
    void *argument;
} ctls_io;

static inline SSL *ctls_ssl(const ctls_session *session) { return (SSL *)session; }

static ctls_io *ctls_io_of(const SSL *ssl) {
    BIO *bio = SSL_get_rbio(ssl);
    return bio == NULL ? NULL : BIO_get_data(bio);
}

static int ctls_bio_read(BIO *bio, char *bytes, int count) {
    ctls_io *io = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (count <= 0) return 0;
    if (io == NULL || io->input.count == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    size_t part = (size_t)count < io->input.count ? (size_t)count : io->input.count;
    memcpy(bytes, io->input.bytes, part);
    io->input.bytes += part;
    io->input.count -= part;
    return (int)part;
}

static int ctls_bio_write(BIO *bio, const char *bytes, int count) {
    ctls_io *io = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (count <= 0) return 0;
    size_t room = io == NULL ? 0 : io->output_count - io->produced;
    if (room == 0) {
        BIO_set_retry_write(bio);
        return -1;
    }
    size_t part = (size_t)count < room ? (size_t)count : room;
    memcpy(io->output + io->produced, bytes, part);
    io->produced += part;
    return (int)part;
}

static long ctls_bio_control(BIO *bio, int command, long number, void *pointer) {
    (void)bio, (void)number, (void)pointer;
    return command == BIO_CTRL_FLUSH || command == BIO_CTRL_PUSH || command == BIO_CTRL_POP;
}

// Made once per process, by the first context.
static BIO_METHOD *ctls_bio_method(void) {
    BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK | 100, "signet");
    if (method == NULL) return NULL;
    BIO_meth_set_read(method, ctls_bio_read);
    BIO_meth_set_write(method, ctls_bio_write);
    BIO_meth_set_ctrl(method, ctls_bio_control);
    return method;
}

static void ctls_count_message(
    int is_write, int version, int type, const void *bytes, size_t count, SSL *ssl, void *argument
) {
    (void)version, (void)argument;
    if (is_write || type != SSL3_RT_HANDSHAKE || count == 0) return;
    uint8_t message = *(const uint8_t *)bytes;
    if (message != SSL3_MT_NEWSESSION_TICKET && message != SSL3_MT_KEY_UPDATE) return;
    ctls_io *io = ctls_io_of(ssl);
    if (io != NULL) io->post_handshake_messages += 1;
}

// MARK: Contexts

// One context of the library for each identity; the first one makes the sessions.
struct ctls_context {
    ctls_options options;
    BIO_METHOD *bio_method;
    SSL_CTX **identities;
    size_t identity_count;
    struct ctls_name {
        char *name;
        size_t identity;
    } *names;
    size_t name_count;
};

// Given by the shim.
static SSL_CTX *ctls_context_new_ssl(const ctls_options *options);
static ctls_identity_result ctls_context_set_identity(
    SSL_CTX *ssl, const ctls_bytes *chain, size_t chain_count, EVP_PKEY *key
);

// Server names are compared without regard to case, as those of the DNS.
static int ctls_choose_identity(SSL *ssl, int *alert, void *argument) {
    const ctls_context *context = argument;
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    for (size_t index = 0; name != NULL && index < context->name_count; index++) {
        if (strcasecmp(name, context->names[index].name) != 0) continue;
        SSL_CTX *chosen = context->identities[context->names[index].identity];
        if (chosen == SSL_get_SSL_CTX(ssl)) return SSL_TLSEXT_ERR_OK;
        if (SSL_set_SSL_CTX(ssl, chosen) != NULL) return SSL_TLSEXT_ERR_OK;
        *alert = SSL_AD_INTERNAL_ERROR;
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    }
    if (!context->options.refuses_unknown_names) return SSL_TLSEXT_ERR_NOACK;
    *alert = SSL_AD_UNRECOGNIZED_NAME;
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static int ctls_choose_protocol(
    SSL *ssl,
    const uint8_t **chosen,
    uint8_t *chosen_count,
    const uint8_t *offered,
    unsigned offered_count,
    void *argument
) {
    (void)ssl;
    const ctls_context *context = argument;
    int result = SSL_select_next_proto(
        (uint8_t **)chosen,
        chosen_count,
        context->options.protocols,
        (unsigned)context->options.protocols_count,
        offered,
        offered_count
    );
    // Nothing in common: the peers would misunderstand each other (RFC 7301 section 3.2).
    return result == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

static const char *ctls_group_name(uint16_t group) {
    switch (group) {
    case 0x11EC: return "X25519MLKEM768";
    case 0x001D: return "X25519";
    case 0x0017: return "P-256";
    default: return NULL;
    }
}

static bool ctls_set_groups(SSL_CTX *ssl, const uint16_t *groups, size_t count) {
    char text[64] = "";
    for (size_t index = 0; index < count; index++) {
        const char *name = ctls_group_name(groups[index]);
        if (name == NULL || strlen(text) + strlen(name) + 2 > sizeof text) return false;
        if (index > 0) strcat(text, ":");
        strcat(text, name);
    }
    return SSL_CTX_set1_groups_list(ssl, text) == 1;
}

// The signatures that both libraries make and check, best first; those of PKCS#1 only say that
// certificates may be signed so.
#define CTLS_SIGNATURES                                                            \
    "ecdsa_secp256r1_sha256:ed25519:rsa_pss_rsae_sha256:ecdsa_secp384r1_sha384:"   \
    "rsa_pss_rsae_sha384:rsa_pss_rsae_sha512:rsa_pkcs1_sha256:rsa_pkcs1_sha384:"   \
    "rsa_pkcs1_sha512"

static bool ctls_configure(SSL_CTX *ssl, ctls_context *context) {
    const ctls_options *options = &context->options;
    if (SSL_CTX_set_min_proto_version(ssl, TLS1_3_VERSION) != 1
        || SSL_CTX_set_max_proto_version(ssl, TLS1_3_VERSION) != 1
        || SSL_CTX_set1_sigalgs_list(ssl, CTLS_SIGNATURES) != 1
        || !ctls_set_groups(ssl, options->groups, options->group_count))
        return false;
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_options(ssl, SSL_OP_NO_TICKET);
    SSL_CTX_set_mode(ssl, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_max_cert_list(ssl, CTLS_CERTIFICATE_MESSAGE_BYTES_MAX);
    SSL_CTX_set_msg_callback(ssl, ctls_count_message);
    if (options->is_server) {
        SSL_CTX_set_tlsext_servername_callback(ssl, ctls_choose_identity);
        SSL_CTX_set_tlsext_servername_arg(ssl, context);
        if (options->protocols_count > 0)
            SSL_CTX_set_alpn_select_cb(ssl, ctls_choose_protocol, context);
    } else if (options->protocols_count > 0) {
        // Zero is success here.
        if (SSL_CTX_set_alpn_protos(ssl, options->protocols, (unsigned)options->protocols_count))
            return false;
    }
    return true;
}

static void ctls_context_free(ctls_context *context) {
    if (context == NULL) return;
    for (size_t index = 0; index < context->identity_count; index++)
        SSL_CTX_free(context->identities[index]);
    for (size_t index = 0; index < context->name_count; index++) free(context->names[index].name);
    free(context->identities);
    free(context->names);
    free((void *)context->options.groups);
    free((void *)context->options.protocols);
    BIO_meth_free(context->bio_method);
    free(context);
}

static void *_Nullable ctls_copy(const void *bytes, size_t count) {
    void *copy = malloc(count > 0 ? count : 1);
    if (copy != NULL && count > 0) memcpy(copy, bytes, count);
    return copy;
}

static ctls_context *ctls_context_new(const ctls_options *options) {
    ctls_context *context = calloc(1, sizeof *context);
    if (context == NULL) return NULL;
    context->options = *options;
    context->options.groups =
        ctls_copy(options->groups, options->group_count * sizeof *options->groups);
    context->options.protocols = ctls_copy(options->protocols, options->protocols_count);
    context->bio_method = ctls_bio_method();
    if (context->options.groups == NULL || context->options.protocols == NULL
        || context->bio_method == NULL) {
        ctls_context_free(context);
        return NULL;
    }
    return context;
}

static bool ctls_add_name(ctls_context *context, const char *name, size_t identity) {
    struct ctls_name *names =
        realloc(context->names, (context->name_count + 1) * sizeof *context->names);
    if (names == NULL) return false;
    context->names = names;
    char *copy = ctls_copy(name, strlen(name) + 1);
    if (copy == NULL) return false;
    names[context->name_count++] = (struct ctls_name){.name = copy, .identity = identity};
    return true;
}

static EVP_PKEY *ctls_parse_key(ctls_bytes der) {
    const uint8_t *cursor = der.bytes;
    PKCS8_PRIV_KEY_INFO *info = d2i_PKCS8_PRIV_KEY_INFO(NULL, &cursor, (long)der.count);
    if (info == NULL) return NULL;
    EVP_PKEY *key = cursor == der.bytes + der.count ? EVP_PKCS82PKEY(info) : NULL;
    PKCS8_PRIV_KEY_INFO_free(info);
    return key;
}

static ctls_identity_result ctls_context_add_identity(
    ctls_context *context,
    const ctls_bytes *chain,
    size_t chain_count,
    ctls_bytes key_bytes,
    ctls_bytes names
) {
    if (chain_count == 0) return ctls_identity_certificate_unreadable;
    SSL_CTX **identities =
        realloc(context->identities, (context->identity_count + 1) * sizeof *identities);
    if (identities == NULL) return ctls_identity_no_memory;
    context->identities = identities;
    EVP_PKEY *key = ctls_parse_key(key_bytes);
    if (key == NULL) {
        ERR_clear_error();
        return ctls_identity_key_unreadable;
    }
    SSL_CTX *ssl = ctls_context_new_ssl(&context->options);
    ctls_identity_result result = ssl == NULL || !ctls_configure(ssl, context)
        ? ctls_identity_no_memory
        : ctls_context_set_identity(ssl, chain, chain_count, key);
    EVP_PKEY_free(key);
    ERR_clear_error();
    if (result != ctls_identity_ok) {
        SSL_CTX_free(ssl);
        return result;
    }
    size_t identity = context->identity_count;
    identities[context->identity_count++] = ssl;
    if (names.count > 0 && names.bytes[names.count - 1] != 0) return ctls_identity_no_memory;
    for (size_t start = 0; start < names.count;) {
        const char *name = (const char *)names.bytes + start;
        if (!ctls_add_name(context, name, identity)) return ctls_identity_no_memory;
        start += strlen(name) + 1;
    }
    return ctls_identity_ok;
}

// MARK: Authorities and paths

struct ctls_authorities {
    // A path is built from a stack made for it; the library wants a store all the same.
    X509_STORE *empty;
    size_t count;
    X509 *certificates[CTLS_AUTHORITIES_MAX];
};

static void ctls_authorities_free(ctls_authorities *authorities) {
    if (authorities == NULL) return;
    for (size_t index = 0; index < authorities->count; index++)
        X509_free(authorities->certificates[index]);
    X509_STORE_free(authorities->empty);
    free(authorities);
}

static X509 *ctls_parse_certificate(ctls_bytes der) {
    const uint8_t *cursor = der.bytes;
    X509 *certificate = d2i_X509(NULL, &cursor, (long)der.count);
    if (certificate == NULL || cursor == der.bytes + der.count) return certificate;
    X509_free(certificate);
    return NULL;
}

static ctls_authorities *ctls_authorities_new(const ctls_bytes *certificates, size_t count) {
    if (count > CTLS_AUTHORITIES_MAX) return NULL;
    ctls_authorities *authorities = calloc(1, sizeof *authorities);
    if (authorities == NULL) return NULL;
    authorities->empty = X509_STORE_new();
    bool is_complete = authorities->empty != NULL;
    for (size_t index = 0; is_complete && index < count; index++) {
        X509 *certificate = ctls_parse_certificate(certificates[index]);
        is_complete = certificate != NULL;
        if (is_complete) authorities->certificates[authorities->count++] = certificate;
    }
    ERR_clear_error();
    if (is_complete) return authorities;
    ctls_authorities_free(authorities);
    return NULL;
}

// A chain as it was presented; on the stack of the call that asks for a verdict.
struct ctls_chain {
    size_t count;
    ctls_bytes certificates[CTLS_CHAIN_COUNT_MAX];
    // Parsed when a path is built.
    X509 *parsed[CTLS_CHAIN_COUNT_MAX];
};

static void ctls_chain_forget(ctls_chain *chain) {
    for (size_t index = 0; index < CTLS_CHAIN_COUNT_MAX; index++) X509_free(chain->parsed[index]);
}

// The bytes stay the caller's.
static ctls_chain *ctls_chain_new(const ctls_bytes *certificates, size_t count) {
    ctls_chain *chain = calloc(1, sizeof *chain);
    if (chain == NULL) return NULL;
    chain->count = count;
    for (size_t index = 0; index < count && index < CTLS_CHAIN_COUNT_MAX; index++) {
        chain->certificates[index] = certificates[index];
        chain->parsed[index] = ctls_parse_certificate(certificates[index]);
    }
    ERR_clear_error();
    return chain;
}

static void ctls_chain_free(ctls_chain *chain) {
    ctls_chain_forget(chain);
    free(chain);
}

static size_t ctls_chain_count(const ctls_chain *chain) { return chain->count; }

static ctls_bytes ctls_chain_certificate(const ctls_chain *chain, size_t index) {
    if (index >= chain->count || index >= CTLS_CHAIN_COUNT_MAX) return (ctls_bytes){NULL, 0};
    return chain->certificates[index];
}

static uint8_t ctls_place_of(
    const X509 *certificate, const ctls_chain *chain, const ctls_authorities *authorities, bool last
) {
    // The last one must be an authority, every other one must have been presented.
    if (last) {
        for (size_t index = 0; index < authorities->count; index++)
            if (certificate == authorities->certificates[index])
                return (uint8_t)(CTLS_PATH_AUTHORITY + index);
    } else {
        for (size_t index = 0; index < CTLS_CHAIN_COUNT_MAX; index++)
            if (certificate == chain->parsed[index]) return (uint8_t)index;
    }
    return 0xFF;
}

static ctls_path ctls_describe_path(
    X509_STORE_CTX *verification, const ctls_chain *chain, const ctls_authorities *authorities
) {
    ctls_path path = {.result = ctls_path_found};
    STACK_OF(X509) *found = X509_STORE_CTX_get0_chain(verification);
    size_t count = found == NULL ? 0 : (size_t)sk_X509_num(found);
    if (count < 2 || count > CTLS_PATH_COUNT_MAX) {
        path.result = ctls_path_none;
        return path;
    }
    for (size_t index = 0; index < count; index++) {
        const X509 *certificate = sk_X509_value(found, (int)index);
        uint8_t place = ctls_place_of(certificate, chain, authorities, index + 1 == count);
        if (place == 0xFF) {
            path.result = ctls_path_none;
            return path;
        }
        path.certificates[index] = place;
    }
    path.count = (uint8_t)count;
    return path;
}

static ctls_path ctls_path_failure(int error) {
    ctls_path path = {.result = ctls_path_refused};
    switch (error) {
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
    case X509_V_ERR_CERT_UNTRUSTED: path.result = ctls_path_none; break;
    default: path.reason = X509_verify_cert_error_string(error);
    }
    return path;
}

static ctls_path ctls_chain_path(
    ctls_chain *chain,
    uint32_t usable,
    const ctls_authorities *authorities,
    uint64_t usable_authorities
) {
    ctls_path path = {.result = ctls_path_no_memory};
    STACK_OF(X509) *trusted = sk_X509_new_null();
    STACK_OF(X509) *untrusted = sk_X509_new_null();
    X509_STORE_CTX *verification = X509_STORE_CTX_new();
    bool is_complete = trusted != NULL && untrusted != NULL && verification != NULL;
    for (size_t index = 0; is_complete && index < authorities->count; index++)
        if (usable_authorities >> index & 1)
            is_complete = sk_X509_push(trusted, authorities->certificates[index]) > 0;
    for (size_t index = 0; is_complete && index < chain->count; index++) {
        if (index >= CTLS_CHAIN_COUNT_MAX || !(usable >> index & 1)) continue;
        if (chain->parsed[index] == NULL) {
            path.result = ctls_path_none;
            is_complete = false;
        } else if (index > 0) {
            is_complete = sk_X509_push(untrusted, chain->parsed[index]) > 0;
        }
    }
    if (is_complete && chain->parsed[0] != NULL
        && X509_STORE_CTX_init(verification, authorities->empty, chain->parsed[0], untrusted)
            == 1) {
        X509_STORE_CTX_set0_trusted_stack(verification, trusted);
        X509_VERIFY_PARAM *parameters = X509_STORE_CTX_get0_param(verification);
        X509_VERIFY_PARAM_set_depth(parameters, CTLS_PATH_COUNT_MAX);
        X509_VERIFY_PARAM_set_flags(
            parameters, X509_V_FLAG_NO_CHECK_TIME | X509_V_FLAG_PARTIAL_CHAIN
        );
        path = X509_verify_cert(verification) == 1
            ? ctls_describe_path(verification, chain, authorities)
            : ctls_path_failure(X509_STORE_CTX_get_error(verification));
    }
    X509_STORE_CTX_free(verification);
    sk_X509_free(untrusted);
    sk_X509_free(trusted);
    ERR_clear_error();
    return path;
}

// MARK: Sessions

static ctls_session *ctls_session_new(ctls_context *context, const char *name) {
    if (context->identity_count == 0) return NULL;
    SSL *ssl = SSL_new(context->identities[0]);
    BIO *bio = BIO_new(context->bio_method);
    if (ssl == NULL || bio == NULL) {
        SSL_free(ssl);
        BIO_free(bio);
        ERR_clear_error();
        return NULL;
    }
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl, bio, bio);
    if (context->options.is_server) {
        SSL_set_accept_state(ssl);
    } else {
        SSL_set_connect_state(ssl);
        if (name != NULL && SSL_set_tlsext_host_name(ssl, name) != 1) {
            SSL_free(ssl);
            ERR_clear_error();
            return NULL;
        }
    }
    return (ctls_session *)ssl;
}

static void ctls_session_free(ctls_session *session) { SSL_free(ctls_ssl(session)); }

static void ctls_begin(SSL *ssl, ctls_io *io) {
    BIO_set_data(SSL_get_rbio(ssl), io);
    ERR_clear_error();
}

static ctls_outcome ctls_finish(SSL *ssl, ctls_io *io, size_t input_count, int result) {
    ctls_outcome outcome = {
        .result = result,
        .consumed = input_count - io->input.count,
        .produced = io->produced,
        .post_handshake_messages = io->post_handshake_messages,
        .alert = -1,
    };
    if (result <= 0) {
        switch (SSL_get_error(ssl, result)) {
        case SSL_ERROR_WANT_READ: outcome.result = ctls_wants_input; break;
        case SSL_ERROR_WANT_WRITE: outcome.result = ctls_wants_room; break;
        case SSL_ERROR_ZERO_RETURN: outcome.result = ctls_end; break;
        default: {
            outcome.result = ctls_failed;
            unsigned long error = ERR_peek_error();
            int reason = ERR_GET_REASON(error);
            // Both libraries number received alerts so.
            if (ERR_GET_LIB(error) == ERR_LIB_SSL && reason >= 1000 && reason < 1256)
                outcome.alert = reason - 1000;
            outcome.reason = ERR_reason_error_string(error);
            ERR_clear_error();
        }
        }
    }
    BIO_set_data(SSL_get_rbio(ssl), NULL);
    return outcome;
}

static ctls_outcome ctls_session_handshake(
    ctls_session *session,
    ctls_bytes input,
    uint8_t *output,
    size_t output_count,
    ctls_verify verify,
    void *argument
) {
    ctls_io io = {
        .input = input,
        .output = output,
        .output_count = output_count,
        .verify = verify,
        .argument = argument,
    };
    SSL *ssl = ctls_ssl(session);
    ctls_begin(ssl, &io);
    return ctls_finish(ssl, &io, input.count, SSL_do_handshake(ssl));
}

static int ctls_length(size_t count) { return count > 1 << 30 ? 1 << 30 : (int)count; }

static ctls_outcome ctls_session_read(
    ctls_session *session,
    ctls_bytes input,
    uint8_t *output,
    size_t output_count,
    uint8_t *plain,
    size_t plain_count
) {
    ctls_io io = {.input = input, .output = output, .output_count = output_count};
    SSL *ssl = ctls_ssl(session);
    ctls_begin(ssl, &io);
    int result = SSL_read(ssl, plain, ctls_length(plain_count));
    return ctls_finish(ssl, &io, input.count, result);
}

static ctls_outcome ctls_session_write(
    ctls_session *session, ctls_bytes plain, uint8_t *output, size_t output_count
) {
    ctls_io io = {.output = output, .output_count = output_count};
    SSL *ssl = ctls_ssl(session);
    ctls_begin(ssl, &io);
    return ctls_finish(ssl, &io, 0, SSL_write(ssl, plain.bytes, ctls_length(plain.count)));
}

static ctls_outcome ctls_session_shutdown(
    ctls_session *session, uint8_t *output, size_t output_count
) {
    ctls_io io = {.output = output, .output_count = output_count};
    SSL *ssl = ctls_ssl(session);
    ctls_begin(ssl, &io);
    // A second call would wait for the peer's word.
    int result = SSL_get_shutdown(ssl) & SSL_SENT_SHUTDOWN ? 1 : SSL_shutdown(ssl);
    // Zero: ours is sent, the peer's has not come.
    return ctls_finish(ssl, &io, 0, result == 0 ? 1 : result);
}

static ctls_bytes ctls_session_protocol(const ctls_session *session) {
    const uint8_t *bytes = NULL;
    unsigned count = 0;
    SSL_get0_alpn_selected(ctls_ssl(session), &bytes, &count);
    return (ctls_bytes){bytes, count};
}

static bool ctls_session_is_resumed(const ctls_session *session) {
    return SSL_session_reused(ctls_ssl(session)) != 0;
}

static const char *ctls_session_name(const ctls_session *session) {
    return SSL_get_servername(ctls_ssl(session), TLSEXT_NAMETYPE_host_name);
}

// Asks the caller for its verdict; without one nobody is admitted.
static uint8_t ctls_judge(const SSL *ssl, ctls_chain *chain) {
    ctls_io *io = ctls_io_of(ssl);
    if (io == NULL || io->verify == NULL) return SSL_AD_INTERNAL_ERROR;
    return io->verify(io->argument, chain);
}

#define CTLS_PROVIDER_TABLE                                                        \
    .context_new = ctls_context_new, .context_add_identity = ctls_context_add_identity, \
    .context_free = ctls_context_free, .authorities_new = ctls_authorities_new,    \
    .authorities_free = ctls_authorities_free,                                     \
    .session_free = ctls_session_free, .session_handshake = ctls_session_handshake, \
    .session_read = ctls_session_read, .session_write = ctls_session_write,        \
    .session_shutdown = ctls_session_shutdown,                                     \
    .session_protocol = ctls_session_protocol,                                     \
    .session_is_resumed = ctls_session_is_resumed, .session_name = ctls_session_name, \
    .chain_count = ctls_chain_count, .chain_certificate = ctls_chain_certificate,  \
    .chain_path = ctls_chain_path, .chain_new = ctls_chain_new,                    \
    .chain_free = ctls_chain_free
