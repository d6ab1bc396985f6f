// SPDX-License-Identifier: Apache-2.0

package import Configuration
internal import DurableFiles

extension AgentConfiguration {
    /// Largest configuration file in bytes: all keys with comments fit many times.
    package static let fileBytesMax = 64 * 1024

    /// Reads a YAML file over the values at hand; an unknown key or a value that cannot be read
    /// refuses it.
    ///
    /// - Throws: `ConfigurationError`, `FileError`.
    package mutating func read(file path: String) throws {
        let text = try DurableFile.read(path, bytesMax: Self.fileBytesMax)
        try read(ConfigurationReader<AgentConfigurationKey>(text, file: path))
    }

    /// Takes the values of a configuration file.
    ///
    /// - Throws: `ConfigurationError` with all problems found; then nothing has changed.
    package mutating func read(
        _ file: ConfigurationReader<AgentConfigurationKey>
    ) throws(ConfigurationError) {
        var reader = file
        var result = self
        for key in AgentConfigurationKey.allCases {
            guard let texts = reader.texts(key) else { continue }
            do throws(AgentConfigurationError) {
                try result.set(key, texts)
            } catch {
                reader.refuse(key, "\"\(error.value)\" is not \(error.expected)")
            }
        }
        try reader.finish()
        self = result
    }
}
