// The sockets a server listens on, and the file descriptors it may use. Plain sockets, no HTTP.
#pragma once

#include <string>
#include <tl/expected.hpp>
#include <variant>
#include <vector>

namespace topkd {

struct HostPort {
    std::string host;  ///< empty: every address
    std::string port;
};
struct UnixPath {
    std::string path;
};
using ListenAddress = std::variant<HostPort, UnixPath>;

/// host:port, [::1]:port, :port, unix:/path. Fails with what is wrong with it.
tl::expected<ListenAddress, std::string> parse_listen_address(const std::string& text);

/// A bound, listening, non-blocking socket; closed, and its path removed, when dropped.
class ListenSocket {
  public:
    ListenSocket(int descriptor, std::string name, std::string path)
        : descriptor_(descriptor), name_(std::move(name)), path_(std::move(path)) {}
    ~ListenSocket();
    ListenSocket(ListenSocket&& other) noexcept;
    ListenSocket& operator=(ListenSocket&&) = delete;

    int descriptor() const { return descriptor_; }
    const std::string& name() const { return name_; }  ///< as in parse_listen_address, with the real port

    /// Nobody can connect any more, while the descriptor stays.
    void refuse_more();

  private:
    int descriptor_;
    std::string name_;
    std::string path_;  ///< empty: not a unix socket
};

/// One socket for each address the text stands for: a host name may have several. A path left behind by a process that is gone is
/// taken over; one that somebody listens on is an error.
tl::expected<std::vector<ListenSocket>, std::string> listen_on(const std::string& text);

/// The hard limit of open files.
std::size_t most_open_files();

/// Raises the soft limit of open files to at least `needed`. Fails if the hard limit is lower.
tl::expected<void, std::string> allow_open_files(std::size_t needed);

}  // namespace topkd
