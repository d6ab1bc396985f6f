// SPDX-License-Identifier: Apache-2.0

package import Authorization
package import GRPCPeer
package import HTTPSemantics
package import Issuance
package import PublicEndpoint
package import SPIFFE

/// What an operator decides about one server; every key is described in docs/operations.md.
package struct ServerConfiguration: Sendable {
    package let trustDomain: TrustDomain
    /// Database, keys and audit tiles lie below it.
    package let dataDirectory: String
    /// Where agents and admins connect; port 0 picks a free one.
    package var listen = ServerAddress(host: "::", port: 8081)
    /// `host:port` as agents reach this server, put into join tokens.
    package var advertise: [String] = []
    package var adminSocket = "/run/signet/server/admin.sock"
    /// Who has the built-in admin role.
    package var admins: [ActorPattern] = []
    /// How many others have to approve acts that need it, 0 to `ApprovalCount.neededMax`
    /// (docs/decisions/0023-approvals.md).
    package var approvals = 0
    /// How actors on this machine are named: `uid:0@<hostName>`.
    package var hostName = "localhost"
    /// Health and metrics, on the loopback interface.
    package var telemetryPort: UInt16 = 9811
    package var lifetimes = SVIDLifetimes.standard
    /// `workloadSVIDTTLMax`, if somebody wrote it: what follows from `authorityTTL` is no wish that a
    /// profile could be against.
    package var writtenWorkloadMax: Duration?
    package var tokenLifetimes = TokenLifetimes.standard
    /// What the next authority's key is.
    package var authorityKeyType = AuthorityKeyType.p256
    /// What the next authority's key for tokens is; as `authorityKeyType` if not said.
    package var tokenKeyType: AuthorityKeyType?
    /// Where files are that narrow what certificates may contain.
    package var profileDirectory: String?
    /// By which verifiers outside come; the issuer of tokens.
    package var publicURL: PublicURL?
    /// Where they are served; nil: not by this server.
    package var publicListen: PublicAddress?
    /// PEM files for TLS there.
    package var publicCertificate: String?
    package var publicKey: String?
    /// What is served there; discovery and keys if nothing is named.
    package var publicDocuments: [PublicDocumentKind] = []
    /// How long a key is published before it signs, with a `publicURL` or a `federationListen`.
    package var publicHold: Duration?
    /// Whether tokens are exchanged for such that say "A, through B"; needs a `publicURL`.
    package var exchangesTokens = false
    /// Where the bundle is served to other trust domains that know its endpoint by its SVID
    /// (https_spiffe); nil: not by this server.
    package var federationListen: ServerAddress?
    /// Where bundles of other trust domains may be fetched from; nil: all addresses but those that
    /// lead to the machine itself or its link.
    package var federationNetworks: [IPBlock]?
    /// PEM file of the web authorities that vouch for https_web endpoints; nil: the system's.
    package var federationRoots: String?
    /// What certifies authorities; nil: they are self-signed.
    package var upstream: UpstreamKind?
    /// PEM files of an upstream authority on disk: its certificate, and its roots.
    package var upstreamCertificate: String?
    package var upstreamRoots: String?
    /// The workload socket of this machine's agent, through which another server certifies.
    package var upstreamSocket: String?
    /// Where authorities' keys are kept.
    package var keyStorage = KeyStorage.encrypted
    /// Where the passphrase of backups is; nil: there are none.
    package var backupPassphrase: SecretSource?
    /// Where the passphrase of key files is.
    package var keyPassphrase: SecretSource?
    /// The file of the PKCS #11 module; the label of its token; where the PIN is.
    package var pkcs11Module: String?
    package var pkcs11Token: String?
    package var pkcs11PIN: SecretSource?
    /// The socket of the process that keeps keys, or certifies authorities, or both.
    package var serviceSocket: String?
    /// Whose process may be there, and at `upstreamSocket`, besides root's and the server's own
    /// user's.
    package var serviceUIDs: [UInt32] = []
    /// How dear a guess at the passphrase is made, for tests.
    package var keyFileCost = SealedKey.Cost.standard
    /// Certificates one agent may ask for: rate, and a burst that covers the largest batch.
    package var signingPerSecond = 500.0
    package var signingBurst = 2000.0
    /// Size of the decision store: some days of a busy fleet.
    package var decisionQuotaMiB = 10 * 1024
    /// How long segments of the decision log are kept.
    package var decisionRetention: Duration = .seconds(7 * 86_400)
    /// Attestations one address may try: rate and burst.
    package var attestationsPerSecond = 1.0
    package var attestationBurst = 20.0

    package init(trustDomain: TrustDomain, dataDirectory: String) {
        self.trustDomain = trustDomain
        self.dataDirectory = dataDirectory
    }

    package var databasePath: String { "\(dataDirectory)/server.sqlite" }
    /// Where copies are made for backups; what is in it at a start is left over.
    package var backupDirectory: String { "\(dataDirectory)/backup" }
    /// What a ceremony certifies; there from the making of the key until its certificate is read.
    package var upstreamRequestPath: String { "\(dataDirectory)/upstream.csr" }
    package var keyDirectory: String { "\(dataDirectory)/keys" }
    package var auditDirectory: String { "\(dataDirectory)/audit" }
    package var decisionStorePath: String { "\(dataDirectory)/decisions.db" }
    package var lockPath: String { "\(dataDirectory)/lock" }
}
