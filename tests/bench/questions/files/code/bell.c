/* Plays the bell when the minute of the timetable has come. */
#include <stdbool.h>

bool due(int now, int lesson, int last) { return now >= lesson && last < lesson; }
