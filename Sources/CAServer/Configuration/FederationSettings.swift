// SPDX-License-Identifier: Apache-2.0

internal import Configuration
internal import GRPCPeer
internal import HTTPSemantics

extension ConfigurationReader<ServerConfigurationKey> {
    /// Reads the blocks of addresses that bundles may be fetched from.
    ///
    /// A list without blocks would allow either everything or nothing, so it is refused.
    mutating func federationNetworks() -> [IPBlock]? {
        guard let texts = texts(.federationNetworks) else { return nil }
        guard !texts.isEmpty, texts.count <= FetchNetworks.blocksMax else {
            refuse(
                .federationNetworks,
                "write one to \(FetchNetworks.blocksMax) blocks, or leave the key out"
            )
            return nil
        }
        return texts.compactMap { text in
            guard let block = IPBlock(text) else {
                refuse(.federationNetworks, "\(text): write a block such as 10.0.0.0/8")
                return nil
            }
            return block
        }
    }
}

extension ServerConfiguration {
    /// What does not fit `federationListen`, and what to write.
    var federationProblems: [(key: ServerConfigurationKey, remedy: String)] {
        guard let port = federationListen?.port, port != 0 else { return [] }
        if port == listen.port {
            return [(.federationListen, "agents are served at \(listen): write another port")]
        }
        if case .tls(let address)? = publicListen, address.port == port {
            return [
                (
                    .federationListen,
                    "publicListen is \(address), which is known by another certificate: write "
                        + "another port"
                )
            ]
        }
        return []
    }

    /// From which addresses bundles of other trust domains may be fetched.
    var fetchNetworks: FetchNetworks { FetchNetworks(federationNetworks) }
}
