"""Verified ONNX graphs of PyTorch modules, and their inference on ONNX Runtime.

tensor_module     a module as a function of positional tensors
exporters         the ladder of export routes
passes            graph rewrites that an execution provider needs, each with its reason
verified_export   all of it: export, check against PyTorch, rewrite, check again
graph_cache       verified graphs as entries of the cache
runtime           sessions, inference and placement
"""
