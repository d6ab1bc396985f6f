// SPDX-License-Identifier: Apache-2.0

internal import Foundation

/// What libFuzzer calls for every input; `SIGNET_FUZZ_TARGET` names the target.
///
/// One program holds all targets, so that it is built once.
@_cdecl("LLVMFuzzerTestOneInput")
package func fuzzOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let input = unsafe Array(UnsafeBufferPointer(start: start, count: count))
    do throws(PropertyBroken) {
        try chosenTarget.check(input)
    } catch {
        // The text is not shown by the precondition in an optimised build.
        FileHandle.standardError.write(Data("\(chosenTarget.rawValue): \(error)\n".utf8))
        preconditionFailure("\(error)")
    }
    return 0
}

private let chosenTarget: FuzzTarget = {
    let name = ProcessInfo.processInfo.environment["SIGNET_FUZZ_TARGET"] ?? ""
    guard let target = FuzzTarget(rawValue: name) else {
        let names = FuzzTarget.allCases.map(\.rawValue).joined(separator: " ")
        FileHandle.standardError.write(Data("SIGNET_FUZZ_TARGET is one of: \(names)\n".utf8))
        exit(2)
    }
    return target
}()
