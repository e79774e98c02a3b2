# SPDX-License-Identifier: Apache-2.0
# Sourced: the kernel families, which are the folders of CKernels with an entry; their names in C, as in longhand/<name>.h and
# lhk_<name>_plugin(); and a macro over these names.
families=() family_names=()
for entry in "$(dirname "${BASH_SOURCE[0]}")"/../../CKernels/*/Entry/entry.c; do
    folder=${entry%/Entry/entry.c}
    families+=("${folder##*/}")
    family_names+=("$(basename "$folder"/include/longhand/*.h .h)")
done
linked_families="-DLINKED_FAMILIES(F)=$(printf 'F(%s)' "${family_names[@]}")"
unset entry folder
