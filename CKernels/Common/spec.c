// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "spec.h"

#include <lhk/support.h>

#include "plugin_check.h"

static lhk_status parse_option(char *text, lhk_spec *spec, lhk_error *error) {
    char *equals = strchr(text, '=');
    if (!equals) return lhk_fail(error, LHK_ERROR_ARGUMENT, -1, "'%.60s' is not an option of the form key=value", text);
    *equals = 0;
    if (!lhk_name_valid(text))
        return lhk_fail(error, LHK_ERROR_ARGUMENT, -1, "'%.60s' is not the name of an option (a-z 0-9 _ - .)", text);
    if (!equals[1]) return lhk_fail(error, LHK_ERROR_ARGUMENT, -1, "option '%s' has no value", text);
    for (uint32_t i = 0; i < spec->option_count; i++)
        if (!strcmp(spec->options[i].key, text))
            return lhk_fail(error, LHK_ERROR_ARGUMENT, -1, "option '%s' is given twice", text);
    if (spec->option_count == LHK_SPEC_OPTIONS)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, -1, "more than %d options", LHK_SPEC_OPTIONS);
    spec->options[spec->option_count++] = (lhk_option){text, equals + 1};
    return LHK_OK;
}

lhk_status lhk_spec_parse(const char *text, lhk_spec *out, lhk_error *error) {
    size_t length = strnlen(text, LHK_SPEC_BYTES);
    if (length == LHK_SPEC_BYTES)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, -1, "longer than %d characters", LHK_SPEC_BYTES - 1);
    for (size_t i = 0; i < length; i++)
        if (text[i] < 0x20 || text[i] > 0x7e)
            return lhk_fail(error, LHK_ERROR_ARGUMENT, -1, "character %zu is not printable ASCII", i + 1);
    memcpy(out->text, text, length + 1);
    memcpy(out->words, text, length + 1);
    out->name = out->words;
    out->option_count = 0;
    char *options = strchr(out->words, ':');
    if (options) *options++ = 0;
    if (!lhk_name_valid(out->name))
        return lhk_fail(error, LHK_ERROR_ARGUMENT, -1, "'%.60s' is not the name of a method (a-z 0-9 _ - .)", out->name);
    while (options) {
        char *comma = strchr(options, ',');
        if (comma) *comma++ = 0;
        lhk_status status = parse_option(options, out, error);
        if (status) return status;
        options = comma;
    }
    return LHK_OK;
}
