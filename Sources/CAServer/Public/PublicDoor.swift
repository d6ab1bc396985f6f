// SPDX-License-Identifier: Apache-2.0

internal import Clocks
internal import GRPCPeer
internal import PublicEndpoint

/// Keeps a listener for strangers open: tries until it can be opened, looks after its certificate
/// while it serves, and opens it again when it ends.
struct PublicDoor: Sendable {
    /// What became of the listener.
    enum Change: Hashable, Sendable {
        case closed(String)
        /// Something may be different, also why it is closed.
        case looked
        /// It serves on this port; nil for a Unix socket.
        case opened(port: UInt16?)
    }

    let core: ServerCore
    /// Where it is, in words.
    let address: String
    let service: PublicService
    /// Where to listen; nil while there is nothing to do it with.
    let place: @Sendable () async throws -> PublicListener.Place?
    /// Looks after the certificate; nil if it needs none.
    let look: (@Sendable () async -> Void)?
    /// Told what happens.
    let changed: @Sendable (Change) -> Void

    /// Serves until cancelled.
    func run() async {
        while !Task.isCancelled {
            do {
                if let place = try await place() {
                    let listener = try await PublicListener.open(place, service)
                    changed(.opened(port: listener.port))
                    await serve(listener)
                    guard !Task.isCancelled else { return }
                    changed(.closed("the listener has ended; it is opened again"))
                }
            } catch {
                changed(.closed(reason(error)))
            }
            changed(.looked)
            await pause()
        }
    }

    private func serve(_ listener: PublicListener) async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await listener.run() }
            if let look {
                group.addTask {
                    while !Task.isCancelled {
                        await pause()
                        guard !Task.isCancelled else { return }
                        await look()
                        changed(.looked)
                    }
                }
            }
            await group.next()
            group.cancelAll()
        }
    }

    private func pause() async {
        try? await core.clock.sleep(
            untilBoot: core.clock.bootTime + CertificateKeeper.lookInterval
        )
    }

    private func reason(_ error: any Error) -> String {
        guard let error = error as? PublicListenerError else { return "\(error)" }
        return "\(ListenerError(place: address, reason: .address(errno: error.errno)))"
    }
}
