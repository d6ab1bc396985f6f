// SPDX-License-Identifier: Apache-2.0

package import GRPCCore

/// Tells how each request ended and how long it took; it changes nothing.
package struct RPCObserver: ServerInterceptor {
    private let now: @Sendable () -> Duration
    private let observe: @Sendable (_ method: String, _ code: String, _ took: Duration) -> Void

    /// - Parameters:
    ///   - now: Time since boot.
    ///   - observe: Called once per request, with the full method name and the status' name.
    package init(
        now: @escaping @Sendable () -> Duration,
        observe: @escaping @Sendable (_ method: String, _ code: String, _ took: Duration) -> Void
    ) {
        self.now = now
        self.observe = observe
    }

    package func intercept<Input: Sendable, Output: Sendable>(
        request: StreamingServerRequest<Input>,
        context: ServerContext,
        next:
            @concurrent @Sendable (
                _ request: StreamingServerRequest<Input>,
                _ context: ServerContext
            ) async throws -> StreamingServerResponse<Output>
    ) async throws -> StreamingServerResponse<Output> {
        let (start, method) = (now(), context.descriptor.fullyQualifiedMethod)
        let finish: @Sendable ((any Error)?) -> Void = { [now, observe] error in
            observe(method, Self.code(error), now() - start)
        }
        do {
            var response = try await next(request, context)
            switch response.accepted {
            case .failure(let error): finish(error)
            case .success(var contents):
                let produce = contents.producer
                contents.producer = { writer in
                    do {
                        let trailers = try await produce(writer)
                        finish(nil)
                        return trailers
                    } catch {
                        finish(error)
                        throw error
                    }
                }
                response.accepted = .success(contents)
            }
            return response
        } catch {
            finish(error)
            throw error
        }
    }

    private static func code(_ error: (any Error)?) -> String {
        switch error {
        case nil: "ok"
        case let error as RPCError: "\(error.code)"
        case let error as any RPCErrorConvertible: "\(error.rpcErrorCode)"
        case is CancellationError: "cancelled"
        default: "unknown"
        }
    }
}
