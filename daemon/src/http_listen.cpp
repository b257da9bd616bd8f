#include "http_listen.h"

#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>

namespace topkd {
namespace {

constexpr int kBacklog = 4096;  // the kernel cuts it to net.core.somaxconn

std::string error_text() {
    return std::strerror(errno);
}

bool is_port(std::string_view text) {
    unsigned number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    return error == std::errc{} && end == text.data() + text.size() && number <= 65'535;
}

/// The address a socket got, in the notation of --listen.
std::string name_of(int descriptor) {
    sockaddr_storage address = {};
    socklen_t length = sizeof(address);
    std::array<char, NI_MAXHOST> host{};
    std::array<char, NI_MAXSERV> port{};
    if (::getsockname(descriptor, reinterpret_cast<sockaddr*>(&address), &length) != 0 ||
        ::getnameinfo(reinterpret_cast<sockaddr*>(&address), length, host.data(), host.size(), port.data(), port.size(),
                      NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        return "?";
    }
    return address.ss_family == AF_INET6 ? fmt::format("[{}]:{}", host.data(), port.data())
                                         : fmt::format("{}:{}", host.data(), port.data());
}

/// The socket, or -1 with errno set.
int bound_socket(const addrinfo& info) {
    const int descriptor = ::socket(info.ai_family, info.ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, info.ai_protocol);
    if (descriptor < 0) {
        return -1;
    }
    const int on = 1;
    ::setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (info.ai_family == AF_INET6) {  // so that [::] and 0.0.0.0 can be given side by side
        ::setsockopt(descriptor, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    }
    if (::bind(descriptor, info.ai_addr, info.ai_addrlen) != 0 || ::listen(descriptor, kBacklog) != 0) {
        const int error = errno;
        ::close(descriptor);
        errno = error;
        return -1;
    }
    return descriptor;
}

tl::expected<std::vector<ListenSocket>, std::string> listen_on_host(const HostPort& address, const std::string& text) {
    addrinfo hints = {};
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
    addrinfo* found = nullptr;
    const int error = ::getaddrinfo(address.host.empty() ? nullptr : address.host.c_str(), address.port.c_str(), &hints, &found);
    if (error != 0) {
        return tl::unexpected(fmt::format("cannot listen on {}: {}", text, ::gai_strerror(error)));
    }
    const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> addresses(found, ::freeaddrinfo);
    std::vector<ListenSocket> sockets;
    int failure = 0;
    for (const addrinfo* info = addresses.get(); info != nullptr; info = info->ai_next) {
        const int descriptor = bound_socket(*info);
        if (descriptor >= 0) {
            sockets.emplace_back(descriptor, name_of(descriptor), "");
        } else if (errno != EADDRNOTAVAIL && errno != EAFNOSUPPORT) {  // a name's address of a protocol that this machine has not
            return tl::unexpected(fmt::format("cannot listen on {}: {}", text, error_text()));
        } else {
            failure = errno;
        }
    }
    if (sockets.empty()) {
        return tl::unexpected(fmt::format("cannot listen on {}: {}", text, std::strerror(failure)));
    }
    return sockets;
}

/// True if a process listens on the path.
bool is_answered(const sockaddr_un& address) {
    const int descriptor = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const bool answered =
        descriptor >= 0 && (::connect(descriptor, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 || errno == EAGAIN);
    if (descriptor >= 0) {
        ::close(descriptor);
    }
    return answered;
}

tl::expected<std::vector<ListenSocket>, std::string> listen_on_path(const std::string& path, const std::string& text) {
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof(address.sun_path)) {
        return tl::unexpected(fmt::format("cannot listen on {}: the path is longer than {} bytes", text, sizeof(address.sun_path) - 1));
    }
    std::memcpy(address.sun_path, path.data(), path.size());
    struct stat there = {};
    if (::lstat(path.c_str(), &there) == 0 && S_ISSOCK(there.st_mode) && !is_answered(address)) {
        ::unlink(path.c_str());
    }
    const int descriptor = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (descriptor < 0) {
        return tl::unexpected(fmt::format("cannot listen on {}: {}", text, error_text()));
    }
    if (::bind(descriptor, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
        const std::string why = error_text();
        ::close(descriptor);
        return tl::unexpected(fmt::format("cannot listen on {}: {}", text, why));
    }
    std::vector<ListenSocket> sockets;
    sockets.emplace_back(descriptor, "unix:" + path, path);
    if (::listen(descriptor, kBacklog) != 0) {
        return tl::unexpected(fmt::format("cannot listen on {}: {}", text, error_text()));
    }
    return sockets;
}

}  // namespace

tl::expected<ListenAddress, std::string> parse_listen_address(const std::string& text) {
    constexpr std::string_view kUnix = "unix:";
    const auto refused = [&](std::string_view why) {
        return tl::unexpected(fmt::format("{}: {} (host:port, [::1]:port or unix:/path)", text, why));
    };
    if (text.starts_with(kUnix)) {
        const std::string path = text.substr(kUnix.size());
        return path.starts_with('/') ? tl::expected<ListenAddress, std::string>(UnixPath{path}) : refused("the path must be absolute");
    }
    const std::size_t colon = text.rfind(':');
    if (colon == std::string::npos || !is_port(std::string_view(text).substr(colon + 1))) {
        return refused("no port from 0 to 65535");
    }
    std::string host = text.substr(0, colon);
    if (host.starts_with('[') && host.ends_with(']')) {
        host = host.substr(1, host.size() - 2);
    } else if (host.find_first_of(":[]") != std::string::npos) {
        return refused("an IPv6 address stands in brackets");
    }
    return HostPort{host == "*" ? "" : host, text.substr(colon + 1)};
}

ListenSocket::ListenSocket(ListenSocket&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)), name_(std::move(other.name_)), path_(std::exchange(other.path_, {})) {}

ListenSocket::~ListenSocket() {
    if (descriptor_ >= 0) {
        refuse_more();
        ::close(descriptor_);
    }
}

void ListenSocket::refuse_more() {
    if (!path_.empty()) {
        ::unlink(path_.c_str());
        path_.clear();
    }
    ::shutdown(descriptor_, SHUT_RDWR);
}

tl::expected<std::vector<ListenSocket>, std::string> listen_on(const std::string& text) {
    const auto address = parse_listen_address(text);
    if (!address) {
        return tl::unexpected(address.error());
    }
    if (const auto* path = std::get_if<UnixPath>(&*address)) {
        return listen_on_path(path->path, text);
    }
    return listen_on_host(std::get<HostPort>(*address), text);
}

std::size_t most_open_files() {
    rlimit limit = {};
    return ::getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_max : SIZE_MAX;
}

tl::expected<void, std::string> allow_open_files(std::size_t needed) {
    rlimit limit = {};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return tl::unexpected("cannot read the limit of open files: " + error_text());
    }
    if (limit.rlim_cur >= needed) {
        return {};
    }
    if (limit.rlim_max < needed) {
        return tl::unexpected(
            fmt::format("{} open files are needed, and the limit is {}: raise it (ulimit -Hn, LimitNOFILE=), or lower "
                        "--max-connections",
                        needed, limit.rlim_max));
    }
    limit.rlim_cur = needed;
    if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return tl::unexpected(fmt::format("cannot raise the limit of open files to {}: {}", needed, error_text()));
    }
    return {};
}

}  // namespace topkd
