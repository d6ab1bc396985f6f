// SPDX-License-Identifier: Apache-2.0

/// The seeds every walk is started with; one that ever failed stays in the list.
let walkSeeds: [UInt64] = Array(1...24)
