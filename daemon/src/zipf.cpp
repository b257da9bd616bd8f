#include "zipf.h"

#include <algorithm>
#include <cmath>

namespace topkd {

namespace {

// log(1 + x) / x and (e^x - 1) / x, continuous at 0: they carry the formulas through exponent 1, where the textbook
// antiderivative divides by zero.
double log1p_over_x(double x) {
    return std::abs(x) > 1e-8 ? std::log1p(x) / x : 1 - x * (0.5 - x / 3);
}
double expm1_over_x(double x) {
    return std::abs(x) > 1e-8 ? std::expm1(x) / x : 1 + x * 0.5 * (1 + x / 3);
}

}  // namespace

double uniform(Random& random) {
    return static_cast<double>(random() >> 11) * 0x1p-53;
}

Zipf::Zipf(std::uint64_t count, double exponent) : count_(count), exponent_(exponent) {
    integral_at_first_ = integral(1.5) - 1;
    integral_at_last_ = integral(static_cast<double>(count) + 0.5);
    shortcut_ = 2 - integral_inverse(integral(2.5) - density(2));
}

std::uint64_t Zipf::operator()(Random& random) const {
    for (;;) {
        const double u = integral_at_last_ + uniform(random) * (integral_at_first_ - integral_at_last_);
        const double x = integral_inverse(u);
        const double nearest = std::clamp(std::floor(x + 0.5), 1.0, static_cast<double>(count_));
        if (nearest - x <= shortcut_ || u >= integral(nearest + 0.5) - density(nearest)) {
            return static_cast<std::uint64_t>(nearest);
        }
    }
}

double Zipf::density(double x) const {
    return std::exp(-exponent_ * std::log(x));
}

double Zipf::integral(double x) const {
    const double log_x = std::log(x);
    return expm1_over_x((1 - exponent_) * log_x) * log_x;
}

double Zipf::integral_inverse(double y) const {
    const double t = std::max(y * (1 - exponent_), -1.0);  // below -1 only by rounding
    return std::exp(log1p_over_x(t) * y);
}

}  // namespace topkd
