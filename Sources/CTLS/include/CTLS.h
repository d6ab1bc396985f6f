// SPDX-License-Identifier: Apache-2.0
//
// TLS as the proxy's engine wants it: one table of functions per library, opaque handles, and every
// byte range an argument of the call that uses it. Nothing here keeps a pointer to the caller's
// memory after a call has returned, and there is no socket: ciphertext goes in and comes out.
//
// TLS 1.3 only, mutual authentication only, no tickets, no resumption, no 0-RTT. Certificates are
// judged by the caller, in a function that the handshake calls with the chain as it was presented.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#pragma clang assume_nonnull begin

/// Most certificates looked at in a presented chain; one more is told so that it can be refused.
#define CTLS_CHAIN_COUNT_MAX 4
/// Most bytes of a peer's Certificate message: 32 KiB of certificates and what stands around them.
#define CTLS_CERTIFICATE_MESSAGE_BYTES_MAX (34 * 1024)
/// Most authorities of one trust domain, so that a set of them fits a word.
#define CTLS_AUTHORITIES_MAX 64
/// The most certificates in a path: a whole chain and the authority.
#define CTLS_PATH_COUNT_MAX (CTLS_CHAIN_COUNT_MAX + 1)
/// In a path, an authority is told by its index plus this.
#define CTLS_PATH_AUTHORITY 0x80

typedef struct ctls_context ctls_context;
typedef struct ctls_session ctls_session;
typedef struct ctls_authorities ctls_authorities;
typedef struct ctls_chain ctls_chain;

typedef struct {
    const uint8_t *_Nullable bytes;
    size_t count;
} ctls_bytes;

typedef struct {
    bool is_server;
    /// Whether a client that names no identity of the table is refused, instead of meeting the
    /// first one.
    bool refuses_unknown_names;
    /// IANA numbers of the groups offered or accepted, best first.
    const uint16_t *groups;
    size_t group_count;
    /// Protocol names, each after one byte of length; NULL for none.
    const uint8_t *_Nullable protocols;
    size_t protocols_count;
} ctls_options;

typedef enum {
    ctls_identity_ok,
    ctls_identity_certificate_unreadable,
    ctls_identity_key_unreadable,
    /// The key is not that of the first certificate.
    ctls_identity_key_differs,
    ctls_identity_no_memory,
} ctls_identity_result;

/// Judges a presented chain; 0 admits it, anything else is the alert to refuse it with (RFC 8446
/// section 6.2). The chain is valid during the call only.
typedef uint8_t (*ctls_verify)(void *argument, ctls_chain *chain);

enum {
    /// The peer has ended its side properly.
    ctls_end = 0,
    ctls_wants_input = -1,
    ctls_failed = -2,
    /// There was no room for what has to be sent; call again with more.
    ctls_wants_room = -3,
};

typedef struct {
    /// Bytes read or written, or 1 for a finished handshake or shutdown; else one of the above.
    int64_t result;
    /// How much of the input was taken.
    size_t consumed;
    /// How much of the output was filled.
    size_t produced;
    /// KeyUpdate and NewSessionTicket messages that arrived during the call.
    uint32_t post_handshake_messages;
    /// The alert that ended the connection, if the peer sent one; -1 otherwise.
    int32_t alert;
    /// Why it failed, in static words; NULL if nothing is known.
    const char *_Nullable reason;
} ctls_outcome;

typedef enum {
    ctls_path_found,
    /// No issuer is known for a certificate, or a signature does not verify.
    ctls_path_none,
    /// There is a path, but it breaks a rule of RFC 5280.
    ctls_path_refused,
    ctls_path_no_memory,
} ctls_path_result;

typedef struct {
    ctls_path_result result;
    /// Static words of the library for a refusal.
    const char *_Nullable reason;
    /// The path from the leaf to an authority.
    uint8_t count;
    uint8_t certificates[CTLS_PATH_COUNT_MAX];
} ctls_path;

/// A TLS library. The pointers are constant and may be used from any thread; a session belongs to
/// one thread at a time, contexts and authorities to all.
typedef struct {
    /// Static name and version.
    const char *_Nonnull (*_Nonnull version)(void);
    /// Whether the library knows the group with this IANA number.
    bool (*_Nonnull knows_group)(uint16_t group);

    ctls_context *_Nullable (*_Nonnull context_new)(const ctls_options *options);
    /// Adds an identity: DER of each certificate, leaf first, a PKCS#8 key, and the names by which
    /// clients ask for it, each with a zero behind it. The first one added is also for who names none.
    ctls_identity_result (*_Nonnull context_add_identity)(
        ctls_context *context,
        const ctls_bytes *chain,
        size_t chain_count,
        ctls_bytes key,
        ctls_bytes names
    );
    void (*_Nonnull context_free)(ctls_context *context);

    /// Parses authorities; NULL if one does not parse.
    ctls_authorities *_Nullable (*_Nonnull authorities_new)(
        const ctls_bytes *certificates,
        size_t count
    );
    void (*_Nonnull authorities_free)(ctls_authorities *authorities);

    /// `name` is what a client asks for, or NULL.
    ctls_session *_Nullable (*_Nonnull session_new)(
        ctls_context *context,
        const char *_Nullable name
    );
    void (*_Nonnull session_free)(ctls_session *session);
    ctls_outcome (*_Nonnull session_handshake)(
        ctls_session *session,
        ctls_bytes input,
        uint8_t *output,
        size_t output_count,
        ctls_verify verify,
        void *argument
    );
    ctls_outcome (*_Nonnull session_read)(
        ctls_session *session,
        ctls_bytes input,
        uint8_t *output,
        size_t output_count,
        uint8_t *plain,
        size_t plain_count
    );
    ctls_outcome (*_Nonnull session_write)(
        ctls_session *session,
        ctls_bytes plain,
        uint8_t *output,
        size_t output_count
    );
    /// Says that nothing more will be written (close_notify); reading goes on.
    ctls_outcome (*_Nonnull session_shutdown)(
        ctls_session *session,
        uint8_t *output,
        size_t output_count
    );
    /// Takes a new key for what is written from now on, and asks the peer to do the same.
    bool (*_Nonnull session_update_keys)(ctls_session *session);

    /// The protocol agreed upon; no bytes if there is none.
    ctls_bytes (*_Nonnull session_protocol)(const ctls_session *session);
    /// IANA number of the group agreed upon; 0 if unknown.
    uint16_t (*_Nonnull session_group)(const ctls_session *session);
    bool (*_Nonnull session_is_resumed)(const ctls_session *session);
    /// The server name that the client asked for; NULL if none.
    const char *_Nullable (*_Nonnull session_name)(const ctls_session *session);

    /// A chain that did not come in a handshake, for whoever wants to know what would be made of
    /// it; NULL without memory.
    ctls_chain *_Nullable (*_Nonnull chain_new)(const ctls_bytes *certificates, size_t count);
    /// Frees a chain of `chain_new`.
    void (*_Nonnull chain_free)(ctls_chain *chain);
    /// How many certificates were presented, also if they are more than `CTLS_CHAIN_COUNT_MAX`.
    size_t (*_Nonnull chain_count)(const ctls_chain *chain);
    /// DER of one of the first `CTLS_CHAIN_COUNT_MAX`.
    ctls_bytes (*_Nonnull chain_certificate)(const ctls_chain *chain, size_t index);
    /// Builds a path from the first certificate of the chain to one of the authorities. Only the
    /// certificates and authorities whose bits are set are used; the caller has looked at times.
    ctls_path (*_Nonnull chain_path)(
        ctls_chain *chain,
        uint32_t certificates,
        const ctls_authorities *authorities,
        uint64_t usable_authorities
    );
} ctls_provider;

#pragma clang assume_nonnull end
