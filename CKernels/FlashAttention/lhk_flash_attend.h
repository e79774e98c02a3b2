// SPDX-License-Identifier: Apache-2.0
#ifndef LHK_FLASH_ATTEND_H
#define LHK_FLASH_ATTEND_H

#include <longhand/reference.h>

extern const lhk_life_ops lhk_flash_life_ops;
extern const lhk_attention_ops lhk_flash_attention_ops;
extern const lhk_attention_reference lhk_flash_formula;

#endif
