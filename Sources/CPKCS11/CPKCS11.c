// SPDX-License-Identifier: Apache-2.0

#include "CPKCS11.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

// The nullability of the header is for Swift; inside, every pointer is looked at.
#pragma clang diagnostic ignored "-Wnullability-completeness"

// MARK: What PKCS #11 2.40 says, as far as it is used here

typedef unsigned long ck_ulong;
typedef ck_ulong ck_rv;
typedef unsigned char ck_bool;

typedef struct {
    ck_ulong type;
    void *value;
    ck_ulong count;
} ck_attribute;

typedef struct {
    ck_ulong type;
    void *parameter;
    ck_ulong count;
} ck_mechanism;

typedef struct {
    void *create_mutex;
    void *destroy_mutex;
    void *lock_mutex;
    void *unlock_mutex;
    ck_ulong flags;
    void *reserved;
} ck_initialize_args;

typedef struct {
    unsigned char label[32];
    unsigned char manufacturer[32];
    unsigned char model[16];
    unsigned char serial[16];
    ck_ulong flags;
    ck_ulong numbers[10];
    unsigned char versions[4];
    unsigned char time[16];
} ck_token_info;

// The list of functions: a version, then pointers in this order.
enum {
    fn_initialize = 0,
    fn_finalize = 1,
    fn_get_slot_list = 4,
    fn_get_token_info = 6,
    fn_open_session = 12,
    fn_close_session = 13,
    fn_login = 18,
    fn_logout = 19,
    fn_destroy_object = 22,
    fn_get_attribute_value = 24,
    fn_set_attribute_value = 25,
    fn_find_objects_init = 26,
    fn_find_objects = 27,
    fn_find_objects_final = 28,
    fn_sign_init = 42,
    fn_sign = 43,
    fn_generate_key_pair = 59,
    fn_count = 68,
};

typedef struct {
    unsigned char major;
    unsigned char minor;
    void (*functions[fn_count])(void);
} ck_function_list;

#define CKF_OS_LOCKING_OK 0x2UL
#define CKF_RW_SESSION 0x2UL
#define CKF_SERIAL_SESSION 0x4UL
#define CKU_USER 1UL
#define CKM_RSA_PKCS_KEY_PAIR_GEN 0x0000UL
#define CKM_EC_KEY_PAIR_GEN 0x1040UL
#define CKR_CRYPTOKI_ALREADY_INITIALIZED 0x191UL
#define CKA_CLASS 0x000UL
#define CKA_TOKEN 0x001UL
#define CKA_PRIVATE 0x002UL
#define CKA_ID 0x102UL
#define CKA_ENCRYPT 0x104UL
#define CKA_DECRYPT 0x105UL
#define CKA_WRAP 0x106UL
#define CKA_UNWRAP 0x107UL
#define CKA_SIGN 0x108UL
#define CKA_VERIFY 0x10AUL
#define CKA_DERIVE 0x10CUL
#define CKA_MODULUS_BITS 0x121UL

// MARK: Modules

typedef struct {
    char *path;
    ck_function_list *list;
    uint64_t restarts;
    // Held for reading by each call, for writing by a restart.
    pthread_rwlock_t lock;
} module_entry;

static pthread_mutex_t modules_lock = PTHREAD_MUTEX_INITIALIZER;
static module_entry modules[CPKCS11_MODULES_MAX];
static _Thread_local char load_problem[256];

static void problem(const char *text) {
    strncpy(load_problem, text == NULL ? "unknown" : text, sizeof(load_problem) - 1);
    load_problem[sizeof(load_problem) - 1] = 0;
}

const char *cpkcs11_load_problem(void) { return load_problem; }

// A function of the module, as the type of a call.
#define CALL(entry, index, ...) ((ck_rv(*)(__VA_ARGS__))(entry)->list->functions[index])

static ck_rv initialize(module_entry *entry) {
    ck_initialize_args args = {.flags = CKF_OS_LOCKING_OK};
    ck_rv result = CALL(entry, fn_initialize, void *)(&args);
    return result == CKR_CRYPTOKI_ALREADY_INITIALIZED ? CPKCS11_OK : result;
}

static ck_rv load(module_entry *entry, const char *path) {
    // Never closed: a module may have threads of its own.
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        problem(dlerror());
        return CPKCS11_NO_MODULE;
    }
    ck_rv (*get_list)(ck_function_list **) =
        (ck_rv(*)(ck_function_list **))dlsym(library, "C_GetFunctionList");
    ck_function_list *list = NULL;
    if (get_list == NULL || get_list(&list) != CPKCS11_OK || list == NULL || list->major < 2) {
        problem("it has no PKCS #11 functions");
        return CPKCS11_NO_MODULE;
    }
    static const int needed[] = {
        fn_initialize,          fn_finalize,      fn_get_slot_list,       fn_get_token_info,
        fn_open_session,        fn_close_session, fn_login,               fn_logout,
        fn_destroy_object,      fn_find_objects,  fn_get_attribute_value, fn_set_attribute_value,
        fn_find_objects_init,   fn_sign_init,     fn_find_objects_final,  fn_sign,
        fn_generate_key_pair,
    };
    for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
        if (list->functions[needed[i]] == NULL) {
            problem("it lacks functions of PKCS #11");
            return CPKCS11_NO_MODULE;
        }
    }
    entry->list = list;
    return initialize(entry);
}

unsigned long cpkcs11_load(const char *path, int32_t *module) {
    ck_rv result = CPKCS11_HOST_MEMORY;
    pthread_mutex_lock(&modules_lock);
    for (int32_t number = 0; number < CPKCS11_MODULES_MAX; number++) {
        module_entry *entry = &modules[number];
        if (entry->path != NULL && strcmp(entry->path, path) != 0) continue;
        *module = number;
        result = CPKCS11_OK;
        if (entry->path != NULL) break;
        result = load(entry, path);
        if (result != CPKCS11_OK) break;
        char *kept = strdup(path);
        if (kept == NULL || pthread_rwlock_init(&entry->lock, NULL) != 0) {
            free(kept);
            result = CPKCS11_HOST_MEMORY;
            break;
        }
        entry->path = kept;
        break;
    }
    pthread_mutex_unlock(&modules_lock);
    return result;
}

// What `cpkcs11_load` has given out is there for good.
static module_entry *enter(int32_t module) {
    if (module < 0 || module >= CPKCS11_MODULES_MAX || modules[module].path == NULL) return NULL;
    module_entry *entry = &modules[module];
    return pthread_rwlock_rdlock(&entry->lock) == 0 ? entry : NULL;
}

static ck_rv leave(module_entry *entry, ck_rv result) {
    pthread_rwlock_unlock(&entry->lock);
    return result;
}

#define ENTER(entry, module)                                                                       \
    module_entry *entry = enter(module);                                                           \
    if (entry == NULL) return CPKCS11_NO_MODULE

// As `ENTER`, for a call in a session that the module still knows.
#define ENTER_SESSION(entry, module, session)                                                      \
    ENTER(entry, module);                                                                          \
    if (entry->restarts != (session).restarts) return leave(entry, CPKCS11_SESSION_HANDLE_INVALID)

uint64_t cpkcs11_restarts(int32_t module) {
    module_entry *entry = enter(module);
    if (entry == NULL) return 0;
    uint64_t restarts = entry->restarts;
    leave(entry, CPKCS11_OK);
    return restarts;
}

unsigned long cpkcs11_restart(int32_t module, uint64_t seen) {
    if (module < 0 || module >= CPKCS11_MODULES_MAX || modules[module].path == NULL) {
        return CPKCS11_NO_MODULE;
    }
    module_entry *entry = &modules[module];
    if (pthread_rwlock_wrlock(&entry->lock) != 0) return CPKCS11_NO_MODULE;
    ck_rv result = CPKCS11_OK;
    if (entry->restarts == seen) {
        entry->restarts++;
        // A module that was not initialised any more is what this mends.
        CALL(entry, fn_finalize, void *)(NULL);
        result = initialize(entry);
    }
    return leave(entry, result);
}

// MARK: Sessions

static ck_rv find_token(module_entry *entry, const uint8_t *label, size_t count, ck_ulong *slot) {
    ck_ulong slots[64];
    ck_ulong slot_count = sizeof(slots) / sizeof(slots[0]);
    unsigned char padded[32];
    if (count > sizeof(padded)) return CPKCS11_NO_SUCH_TOKEN;
    // Labels of tokens are filled up with blanks.
    memset(padded, ' ', sizeof(padded));
    memcpy(padded, label, count);
    ck_rv result =
        CALL(entry, fn_get_slot_list, ck_bool, ck_ulong *, ck_ulong *)(1, slots, &slot_count);
    if (result != CPKCS11_OK) return result;
    for (ck_ulong i = 0; i < slot_count; i++) {
        ck_token_info info;
        result = CALL(entry, fn_get_token_info, ck_ulong, ck_token_info *)(slots[i], &info);
        // One broken slot must not hide the others.
        if (result != CPKCS11_OK) continue;
        if (memcmp(info.label, padded, sizeof(padded)) == 0) {
            *slot = slots[i];
            return CPKCS11_OK;
        }
    }
    return CPKCS11_NO_SUCH_TOKEN;
}

unsigned long cpkcs11_open_session(
    int32_t module, const uint8_t *label, size_t count, cpkcs11_session *session
) {
    ENTER(entry, module);
    ck_ulong slot = 0, handle = 0;
    ck_rv result = find_token(entry, label, count, &slot);
    if (result == CPKCS11_OK) {
        result = CALL(entry, fn_open_session, ck_ulong, ck_ulong, void *, void *, ck_ulong *)(
            slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &handle
        );
    }
    *session = (cpkcs11_session){handle, entry->restarts};
    return leave(entry, result);
}

unsigned long cpkcs11_close_session(int32_t module, cpkcs11_session session) {
    ENTER_SESSION(entry, module, session);
    return leave(entry, CALL(entry, fn_close_session, ck_ulong)(session.handle));
}

unsigned long cpkcs11_login(int32_t module, cpkcs11_session session, const uint8_t *pin, size_t count) {
    ENTER_SESSION(entry, module, session);
    ck_rv result = CALL(entry, fn_login, ck_ulong, ck_ulong, unsigned char *, ck_ulong)(
        session.handle, CKU_USER, (unsigned char *)pin, count
    );
    return leave(entry, result == CPKCS11_USER_ALREADY_LOGGED_IN ? CPKCS11_OK : result);
}

unsigned long cpkcs11_logout(int32_t module, cpkcs11_session session) {
    ENTER_SESSION(entry, module, session);
    return leave(entry, CALL(entry, fn_logout, ck_ulong)(session.handle));
}

// MARK: Keys

unsigned long cpkcs11_generate(
    int32_t module, cpkcs11_session session, const uint8_t *curve, size_t curve_count,
    uint32_t modulus_bits, const uint8_t *label, size_t label_count, uint64_t *public_key,
    uint64_t *private_key
) {
    ck_bool yes = 1, no = 0;
    ck_ulong bits = modulus_bits;
    unsigned char exponent[] = {0x01, 0x00, 0x01};
    ck_mechanism mechanism = {curve != NULL ? CKM_EC_KEY_PAIR_GEN : CKM_RSA_PKCS_KEY_PAIR_GEN};
    // The kind of key is last, so that one of the two can be left out.
    ck_attribute public_template[] = {
        {CKA_TOKEN, &yes, 1},
        {CKA_PRIVATE, &no, 1},
        {CKA_VERIFY, &yes, 1},
        {CKA_ENCRYPT, &no, 1},
        {CKA_WRAP, &no, 1},
        {CPKCS11_LABEL, (void *)label, label_count},
        {CKA_MODULUS_BITS, &bits, sizeof(bits)},
        {CPKCS11_PUBLIC_EXPONENT, exponent, sizeof(exponent)},
    };
    ck_ulong public_count = 8;
    if (curve != NULL) {
        public_template[6] = (ck_attribute){CPKCS11_EC_PARAMS, (void *)curve, curve_count};
        public_count = 7;
    }
    ck_attribute private_template[] = {
        {CKA_TOKEN, &yes, 1},
        {CKA_PRIVATE, &yes, 1},
        {CPKCS11_SENSITIVE, &yes, 1},
        {CPKCS11_EXTRACTABLE, &no, 1},
        {CKA_SIGN, &yes, 1},
        {CKA_DECRYPT, &no, 1},
        {CKA_UNWRAP, &no, 1},
        {CKA_DERIVE, &no, 1},
        {CPKCS11_LABEL, (void *)label, label_count},
    };
    ENTER_SESSION(entry, module, session);
    ck_ulong public_handle = 0, private_handle = 0;
    ck_rv result = CALL(
        entry, fn_generate_key_pair, ck_ulong, ck_mechanism *, ck_attribute *, ck_ulong,
        ck_attribute *, ck_ulong, ck_ulong *, ck_ulong *
    )(session.handle, &mechanism, public_template, public_count, private_template, 9, &public_handle,
      &private_handle);
    *public_key = public_handle;
    *private_key = private_handle;
    return leave(entry, result);
}

unsigned long cpkcs11_name(
    int32_t module, cpkcs11_session session, uint64_t object, const uint8_t *identifier,
    size_t identifier_count, const uint8_t *label, size_t label_count
) {
    ck_attribute names[] = {
        {CKA_ID, (void *)identifier, identifier_count},
        {CPKCS11_LABEL, (void *)label, label_count},
    };
    ENTER_SESSION(entry, module, session);
    return leave(
        entry,
        CALL(entry, fn_set_attribute_value, ck_ulong, ck_ulong, ck_attribute *, ck_ulong)(
            session.handle, object, names, 2
        )
    );
}

unsigned long cpkcs11_find(
    int32_t module, cpkcs11_session session, unsigned long object_class, const uint8_t *label,
    size_t label_count, uint64_t *objects, size_t max, size_t *count
) {
    ck_ulong class = object_class;
    ck_attribute wanted[] = {
        {CKA_CLASS, &class, sizeof(class)},
        {CPKCS11_LABEL, (void *)label, label_count},
    };
    *count = 0;
    ENTER_SESSION(entry, module, session);
    ck_rv result = CALL(entry, fn_find_objects_init, ck_ulong, ck_attribute *, ck_ulong)(
        session.handle, wanted, label == NULL ? 1 : 2
    );
    if (result != CPKCS11_OK) return leave(entry, result);
    while (*count < max) {
        ck_ulong handle = 0, found = 0;
        result = CALL(entry, fn_find_objects, ck_ulong, ck_ulong *, ck_ulong, ck_ulong *)(
            session.handle, &handle, 1, &found
        );
        if (result != CPKCS11_OK || found == 0) break;
        objects[(*count)++] = handle;
    }
    ck_rv end = CALL(entry, fn_find_objects_final, ck_ulong)(session.handle);
    return leave(entry, result != CPKCS11_OK ? result : end);
}

unsigned long cpkcs11_attribute(
    int32_t module, cpkcs11_session session, uint64_t object, unsigned long type, uint8_t *value,
    size_t *count
) {
    ck_attribute attribute = {type, value, *count};
    ENTER_SESSION(entry, module, session);
    ck_rv result =
        CALL(entry, fn_get_attribute_value, ck_ulong, ck_ulong, ck_attribute *, ck_ulong)(
            session.handle, object, &attribute, 1
        );
    // A size of all ones says that there is none.
    if (result == CPKCS11_OK && attribute.count > *count) result = CPKCS11_BUFFER_TOO_SMALL;
    *count = result == CPKCS11_OK ? attribute.count : 0;
    return leave(entry, result);
}

unsigned long cpkcs11_destroy(int32_t module, cpkcs11_session session, uint64_t object) {
    ENTER_SESSION(entry, module, session);
    return leave(entry, CALL(entry, fn_destroy_object, ck_ulong, ck_ulong)(session.handle, object));
}

unsigned long cpkcs11_sign(
    int32_t module, cpkcs11_session session, uint64_t key, unsigned long mechanism_type,
    const uint8_t *bytes, size_t count, uint8_t *signature, size_t *signature_count
) {
    ck_mechanism mechanism = {mechanism_type};
    ck_ulong produced = *signature_count;
    ENTER_SESSION(entry, module, session);
    ck_rv result =
        CALL(entry, fn_sign_init, ck_ulong, ck_mechanism *, ck_ulong)(session.handle, &mechanism, key);
    if (result == CPKCS11_OK) {
        result = CALL(
            entry, fn_sign, ck_ulong, unsigned char *, ck_ulong, unsigned char *, ck_ulong *
        )(session.handle, (unsigned char *)bytes, count, signature, &produced);
    }
    if (result == CPKCS11_OK && produced > *signature_count) result = CPKCS11_BUFFER_TOO_SMALL;
    *signature_count = result == CPKCS11_OK ? produced : 0;
    return leave(entry, result);
}
