// SPDX-License-Identifier: Apache-2.0

import CLinux
import Foundation
import Testing

struct LinuxFacilityTests {
    @Test func `the start time of a process stays the same`() {
        let first = clinux_start_time_of(getpid())
        let second = clinux_start_time_of(getpid())
        #expect(first.error == 0)
        #expect(first.ticks > 0)
        #expect(first.ticks == second.ticks)
        #expect(clinux_start_time_of(1).ticks < first.ticks)
    }

    @Test func `a process that does not exist has no start time, no executable, no pidfd`() {
        // Beyond the largest pid_max of Linux (2^22).
        let nobody: Int32 = 1 << 22 + 1
        #expect(clinux_start_time_of(nobody).error == ENOENT)
        #expect(clinux_open_executable(nobody) == -ENOENT)
        #expect(clinux_executable_of(nobody).error == ENOENT)
        #expect(clinux_pidfd_open(nobody) < 0)
        #expect(clinux_namespace_of(nobody, clinux_namespace_mount).error == ENOENT)
    }

    @Test func `a pidfd of a running process has not exited`() {
        let descriptor = clinux_pidfd_open(getpid())
        defer { clinux_close(descriptor) }
        #expect(descriptor >= 0)
        #expect(clinux_pidfd_exited(descriptor) == 0)
        #expect(clinux_pidfd_exited(-1) != 1)
    }

    @Test func `code that is given up comes back when it is used`() {
        let first = clinux_release_code()
        #expect(first > 1 << 20)
        #expect(clinux_release_code() == first)
    }

    @Test func `namespaces of a process have an identity each`() {
        let kinds = [
            clinux_namespace_mount, clinux_namespace_user, clinux_namespace_pid,
            clinux_namespace_network,
        ]
        let inodes = kinds.map { kind in
            let first = clinux_namespace_of(getpid(), kind)
            let second = clinux_namespace_of(getpid(), kind)
            #expect(first.error == 0)
            #expect(first.device == second.device)
            #expect(first.inode == second.inode)
            return first.inode
        }
        #expect(Set(inodes).count == kinds.count)
    }

    @Test func `the executable of a process is opened through its link`() throws {
        let descriptor = clinux_open_executable(getpid())
        defer { clinux_close(descriptor) }
        #expect(descriptor >= 0)
        let content = clinux_open_for_reading(descriptor)
        defer { clinux_close(content) }
        let opened = clinux_status_of_descriptor(content)
        let path = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
        let named = status(of: path)
        #expect(opened.error == 0)
        #expect(opened.inode == named.inode)
        #expect(opened.device == named.device)
        #expect(opened.size == named.size)
        let running = clinux_executable_of(getpid())
        let held = clinux_file_of_descriptor(descriptor)
        #expect(running.inode == named.inode && running.device == named.device)
        #expect(held.inode == named.inode && held.device == named.device)
    }

    @Test func `the mount of a file is one of those that this process sees`() throws {
        let descriptor = clinux_open_executable(getpid())
        defer { clinux_close(descriptor) }
        let mount = clinux_mount_of_descriptor(descriptor)
        let table = try String(contentsOfFile: "/proc/self/mountinfo", encoding: .utf8)
        #expect(table.split(separator: "\n").contains { $0.hasPrefix("\(mount) ") })
        #expect(clinux_mount_of_descriptor(-1) == Int64(-EBADF))
    }

    @Test func `a status of a missing path is an error`() {
        #expect(status(of: "/nonexistent").error == ENOENT)
        #expect(clinux_status_of_descriptor(-1).error == EBADF)
    }
}
