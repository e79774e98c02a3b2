#include <longhand/longhand.h>
