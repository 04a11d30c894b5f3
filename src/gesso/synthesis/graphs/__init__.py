"""Generators as graphs that other programs compute: ONNX and OpenVINO files with layouts in and photographs out.

In reading order:

    recording       what a generator computes, as a list of calls
    onnx_graph      those calls, with encoding in front and rounding behind, as ONNX
    described       what an exported file says of itself
    openvino_files  the same graph as OpenVINO's pair of files, in float32 or int8
    parity          how far an exported graph is from the generator
"""
