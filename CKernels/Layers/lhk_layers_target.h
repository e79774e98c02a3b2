// SPDX-License-Identifier: Apache-2.0
/// Compiles the functions between the two macros for more than the architecture's baseline, without compiler flags.
/// System headers must be included before `LHK_TARGET_BEGIN`, or their inline functions would be compiled so too.
#ifndef LHK_LAYERS_TARGET_H
#define LHK_LAYERS_TARGET_H

#define LHK_PRAGMA(text) _Pragma(#text)

#if defined(__clang__)
#define LHK_TARGET_BEGIN(features) \
    LHK_PRAGMA(clang attribute push(__attribute__((target(features))), apply_to = function))
#define LHK_TARGET_END LHK_PRAGMA(clang attribute pop)
#else
#define LHK_TARGET_BEGIN(features) LHK_PRAGMA(GCC push_options) LHK_PRAGMA(GCC target(features))
#define LHK_TARGET_END LHK_PRAGMA(GCC pop_options)
#endif

#endif
