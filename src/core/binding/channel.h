/* channel.h - weft.Channel: values go from who sends to who receives, which meet, unless there is room to leave some. */
#ifndef WF_CHANNEL_H
#define WF_CHANNEL_H

#include <Python.h>

/* Adds the type to the module.  0, or -1 with an exception. */
int wf_channel_init(PyObject *module);

#endif
