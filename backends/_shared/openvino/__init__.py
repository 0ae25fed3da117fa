"""OpenVINO's devices, and the placement of its compiled models.

devices     the device that a session asks for, its presence and its precisions
placement   where a compiled model ran: `query_model`, execution devices, runtime model
"""
