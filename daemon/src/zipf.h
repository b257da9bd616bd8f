// Zipf-distributed ranks: rank k of n is drawn with probability k^-s / sum of i^-s. Rejection-inversion: W. Hörmann and
// G. Derflinger, "Rejection-inversion to generate variates from monotone discrete distributions", ACM TOMACS 6(3), 1996.
// Constant time and memory for any n; about 1.1 uniform numbers a draw.
#pragma once

#include <cstdint>
#include <random>

namespace topkd {

/// The random numbers of the synthetic producer. Its output is fixed by the C++ standard, unlike that of the standard
/// distributions, so that a seed means the same sequence on every platform.
using Random = std::mt19937_64;

/// Uniform in [0, 1), from the upper 53 bits of one draw.
double uniform(Random& random);

class Zipf {
  public:
    /// Requires count >= 1 and exponent >= 0, finite; 0 is the uniform distribution, 1 the classic one.
    Zipf(std::uint64_t count, double exponent);

    /// A rank from 1 to count; 1 is the most frequent.
    std::uint64_t operator()(Random& random) const;

  private:
    double density(double x) const;   // h(x) = x^-s
    double integral(double x) const;  // H(x), an antiderivative of h
    double integral_inverse(double y) const;

    std::uint64_t count_;
    double exponent_;
    double integral_at_first_;
    double integral_at_last_;
    double shortcut_;  // accept without evaluating H where the rounding error of x is at most this
};

}  // namespace topkd
