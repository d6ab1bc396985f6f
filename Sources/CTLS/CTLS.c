// SPDX-License-Identifier: Apache-2.0

#include "CTLS.h"

// What the header promises to its users on both sides.
_Static_assert(CTLS_AUTHORITIES_MAX <= 64, "a set of authorities is a word");
_Static_assert(CTLS_AUTHORITIES_MAX <= 256 - CTLS_PATH_AUTHORITY, "an authority's number fits");
_Static_assert(CTLS_CHAIN_COUNT_MAX < CTLS_PATH_AUTHORITY, "certificates are told apart");
