#ifndef LONGHAND_H
#define LONGHAND_H
typedef int lhk_placeholder;
#endif
