// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "CTLS.h"

#pragma clang assume_nonnull begin

/// OpenSSL 3, the system's.
const ctls_provider *ctls_openssl(void);

#pragma clang assume_nonnull end
