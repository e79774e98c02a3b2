// SPDX-License-Identifier: Apache-2.0
/// What the two files of the formula share.
#ifndef LHK_ADAMAS_REFERENCE_H
#define LHK_ADAMAS_REFERENCE_H

#include "lhk_adamas_index.h"

/// Relative distance to a threshold within which rounding may decide.
#define CLOSE 2e-5

typedef struct formula {
    lhk_adamas_config c;
    int64_t keys, rows;
    double scale;
    double *y;       ///< [keys][dim]: transformed keys of one KV head, centred and normalised
    double *rms;     ///< [keys]: what they were divided by
    double *loose;   ///< [keys]: relative error of that, where rounding to f16 may go either way
    double *mean, *slack;  ///< [blocks][dim]: mean of each block, and how far off it may be
    double *sorted;  ///< values of the sample
    double balance[LHK_ADAMAS_MOST_DIM], thresholds[3];
    double level[4], doubt[4];  ///< what codes stand for, and how far off it may be
    double error;    ///< of normalised values and thresholds, relative
} formula;

/// x = H x.
void lhk_adamas_formula_transform(double *x, int64_t dim);
/// Keys of a KV head as codes see them, thresholds and levels.
void lhk_adamas_formula_prepare(formula *f, const lhk_tensor *k, int64_t head);
/// The least and the greatest code that y may get, if it may be `room` off besides rounding.
void lhk_adamas_formula_codes(double y, const double *thresholds, double error, double room, int *low, int *high);
/// The same for channel c of key j.
void lhk_adamas_formula_key_codes(const formula *f, int64_t j, int64_t c, int *low, int *high);

#endif
