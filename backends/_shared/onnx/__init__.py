"""What the ONNX Runtime backends share: from a module to a checked ONNX graph, and its inference.

trace      a module as a function of tensors, its outputs by name
routes     the ladder of exporters
passes     graph rewrites that a provider needs, each with its reason
runtime    a graph on ONNX Runtime's CPU provider
exported   all of it: export, check against PyTorch, rewrite, check again
"""
