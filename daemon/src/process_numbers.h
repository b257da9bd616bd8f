// What the kernel says of this process, from /proc; 0 where it says nothing.
#pragma once

namespace topkd {

struct ProcessNumbers {
    double cpu_seconds = 0;
    double resident_bytes = 0;
    double started = 0;  ///< seconds since 1970
    double open_fds = 0;
    double max_fds = 0;
};

ProcessNumbers process_numbers();

}  // namespace topkd
