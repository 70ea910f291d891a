"""Bridges to libraries that are optional: timm, the Hugging Face Hub.

Importing this package loads neither; each bridge is a module of its own.
"""
