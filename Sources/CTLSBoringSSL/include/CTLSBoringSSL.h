// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "CTLS.h"

#pragma clang assume_nonnull begin

/// BoringSSL, as swift-nio-ssl brings it along.
const ctls_provider *ctls_boringssl(void);

#pragma clang assume_nonnull end
