// SPDX-License-Identifier: Apache-2.0
//
// What Signet needs of a PKCS #11 module (version 2.40): keys that sign and never leave their token.
// Modules are loaded for good and are told by small numbers, objects by the module's own handles,
// so that no pointer reaches Swift. Every function that calls a module returns its
// CK_RV, blocks as long as the module does, and may be called from any thread; one session must not
// be used by two threads at once. Nothing here logs in, retries or waits by itself.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#pragma clang assume_nonnull begin

/// Most modules in one process; a server uses one.
#define CPKCS11_MODULES_MAX 8

// CK_RV values that decide what is done next.
#define CPKCS11_OK 0x000UL
#define CPKCS11_HOST_MEMORY 0x002UL
#define CPKCS11_SLOT_ID_INVALID 0x003UL
#define CPKCS11_GENERAL_ERROR 0x005UL
#define CPKCS11_FUNCTION_FAILED 0x006UL
#define CPKCS11_DEVICE_ERROR 0x030UL
#define CPKCS11_DEVICE_REMOVED 0x032UL
#define CPKCS11_KEY_HANDLE_INVALID 0x060UL
#define CPKCS11_OBJECT_HANDLE_INVALID 0x082UL
#define CPKCS11_OPERATION_ACTIVE 0x090UL
#define CPKCS11_PIN_INCORRECT 0x0A0UL
#define CPKCS11_PIN_INVALID 0x0A1UL
#define CPKCS11_PIN_LEN_RANGE 0x0A2UL
#define CPKCS11_PIN_EXPIRED 0x0A3UL
#define CPKCS11_PIN_LOCKED 0x0A4UL
#define CPKCS11_SESSION_CLOSED 0x0B0UL
#define CPKCS11_SESSION_HANDLE_INVALID 0x0B3UL
#define CPKCS11_TOKEN_NOT_PRESENT 0x0E0UL
#define CPKCS11_TOKEN_NOT_RECOGNIZED 0x0E1UL
#define CPKCS11_USER_ALREADY_LOGGED_IN 0x100UL
#define CPKCS11_USER_NOT_LOGGED_IN 0x101UL
#define CPKCS11_BUFFER_TOO_SMALL 0x150UL
#define CPKCS11_NOT_INITIALIZED 0x190UL

/// Ours, outside what PKCS #11 uses: no token has that label; the file is no module.
#define CPKCS11_NO_SUCH_TOKEN 0xFFFF0001UL
#define CPKCS11_NO_MODULE 0xFFFF0002UL

// Attributes that are read.
#define CPKCS11_LABEL 0x003UL
#define CPKCS11_SENSITIVE 0x103UL
#define CPKCS11_MODULUS 0x120UL
#define CPKCS11_PUBLIC_EXPONENT 0x122UL
#define CPKCS11_EXTRACTABLE 0x162UL
#define CPKCS11_EC_PARAMS 0x180UL
#define CPKCS11_EC_POINT 0x181UL

// Object classes.
#define CPKCS11_PUBLIC_KEY 0x002UL
#define CPKCS11_PRIVATE_KEY 0x003UL

// Mechanisms that sign: over a digest, twice; over the bytes themselves.
#define CPKCS11_ECDSA 0x1041UL
#define CPKCS11_RSA_PKCS 0x001UL
#define CPKCS11_SHA256_RSA_PKCS 0x040UL

// MARK: Modules

/// Loads a module and initialises it; the same path gives the same number.
unsigned long cpkcs11_load(const char *path, int32_t *module);
/// Why the last `cpkcs11_load` of this thread ended with CPKCS11_NO_MODULE.
const char *cpkcs11_load_problem(void);
/// How often the module was restarted.
uint64_t cpkcs11_restarts(int32_t module);
/// Finalizes and initialises a module that lost its device, once no other call is inside it.
/// Nothing happens if it was restarted since `seen` was read. All sessions are gone then.
unsigned long cpkcs11_restart(int32_t module, uint64_t seen);

// MARK: Sessions

/// A session and when it was opened: after a restart the module may give its handle to another one,
/// so calls with the older are refused as CPKCS11_SESSION_HANDLE_INVALID.
typedef struct {
    uint64_t handle;
    uint64_t restarts;
} cpkcs11_session;

/// Opens a session that may also write, with the token of that label.
unsigned long cpkcs11_open_session(
    int32_t module, const uint8_t *label, size_t count, cpkcs11_session *session
);
unsigned long cpkcs11_close_session(int32_t module, cpkcs11_session session);
unsigned long cpkcs11_login(int32_t module, cpkcs11_session session, const uint8_t *pin, size_t count);
/// Ends the login of the whole process; for tests of what happens then.
unsigned long cpkcs11_logout(int32_t module, cpkcs11_session session);

// MARK: Keys

/// Makes a key pair in the token: the private key signs and does nothing else, is sensitive and
/// never extractable. Either the DER of a named curve, or the bits of an RSA modulus.
unsigned long cpkcs11_generate(
    int32_t module, cpkcs11_session session, const uint8_t *_Nullable curve, size_t curve_count,
    uint32_t modulus_bits, const uint8_t *label, size_t label_count, uint64_t *public_key,
    uint64_t *private_key
);
/// Gives an object its ID and label.
unsigned long cpkcs11_name(
    int32_t module, cpkcs11_session session, uint64_t object, const uint8_t *identifier,
    size_t identifier_count, const uint8_t *label, size_t label_count
);
/// Objects of a class, all of them or those with the label; at most `max`.
unsigned long cpkcs11_find(
    int32_t module, cpkcs11_session session, unsigned long object_class, const uint8_t *_Nullable label,
    size_t label_count, uint64_t *objects, size_t max, size_t *count
);
/// Reads an attribute; `count` is the room before and the size after.
unsigned long cpkcs11_attribute(
    int32_t module, cpkcs11_session session, uint64_t object, unsigned long type, uint8_t *value,
    size_t *count
);
unsigned long cpkcs11_destroy(int32_t module, cpkcs11_session session, uint64_t object);
/// Signs; `signature_count` is the room before and the size after.
unsigned long cpkcs11_sign(
    int32_t module, cpkcs11_session session, uint64_t key, unsigned long mechanism, const uint8_t *bytes,
    size_t count, uint8_t *signature, size_t *signature_count
);

#pragma clang assume_nonnull end
