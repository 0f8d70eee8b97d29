"""Wrong theories: one additive term of one recursion is twice what it should be."""

import ast
import contextlib
import copy
import dataclasses
import importlib
import inspect
from typing import Any, cast

from ntkflow._recursions import TENSORS
from ntkflow._theory import few_samples
from ntkflow.network.layer import compiled_tensors

FILES = ("means", "vertex", "cross", "omega", "variance", "subleading", "contract")


class _Doubled(ast.NodeTransformer):
    """Doubles summand number `number`, in the order of the source; counts them all in `seen`."""

    def __init__(self, number):
        self.number, self.seen, self.text = number, 0, ""

    def summand(self, node):
        number, self.seen = self.seen, self.seen + 1
        text = ast.unparse(node)
        node = self.visit(node)
        if number != self.number:
            return node
        self.text = text
        return ast.BinOp(ast.Constant(2.0), ast.Mult(), node)

    def visit_Return(self, node):
        if isinstance(node.value, ast.BinOp) and isinstance(node.value.op, ast.Mult):
            node.value = self.summand(node.value)
            return node
        return self.generic_visit(node)

    def visit_BinOp(self, node):
        if isinstance(node.op, ast.Add | ast.Sub):
            chained = isinstance(node.left, ast.BinOp) and isinstance(node.left.op, ast.Add | ast.Sub)
            node.left = self.visit(node.left) if chained else self.summand(node.left)
            node.right = self.summand(node.right)
            return node
        return self.generic_visit(node)

    def visit_Subscript(self, node):
        return node  # sums of indices are none of the recursion's


def _functions(files):
    for file in files:
        module = importlib.import_module(f"ntkflow._recursions.{file}")
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if function.__module__ == module.__name__:
                tree = ast.parse(inspect.getsource(function))
                cast(ast.FunctionDef, tree.body[0]).decorator_list.clear()  # so that it is not declared again
                yield module, name, tree


def doublings(tree):
    """(the summand's text, the tree in which it is doubled), for every summand of a function."""
    count = _Doubled(None)
    count.visit(copy.deepcopy(tree))
    for number in range(count.seen):
        doubled = _Doubled(number)
        changed = ast.fix_missing_locations(doubled.visit(copy.deepcopy(tree)))
        yield doubled.text, changed


def errors(files=FILES):
    """(what is doubled, a context in which it is), for every additive term of every recursion."""
    for module, name, tree in _functions(files):
        for text, changed in doublings(tree):
            yield f"{module.__name__.split('.')[-1]}.{name}: {text}", _planted(module, name, changed)


@contextlib.contextmanager
def _planted(module, name, tree):
    namespace = dict(vars(module))
    exec(compile(tree, f"<{name} with a factor 2>", "exec"), namespace)  # noqa: S102
    users = [module, *(importlib.import_module(f"ntkflow._recursions.{file}") for file in FILES)]
    original = getattr(module, name)
    replaced = {user for user in users if getattr(user, name, None) is original}
    for user in replaced:
        setattr(user, name, namespace[name])
    declared = TENSORS.get(name)
    if declared is not None and declared.equation is original:
        TENSORS[name] = dataclasses.replace(declared, equation=namespace[name])
    _forget_programs()
    try:
        yield
    finally:
        for user in replaced:
            setattr(user, name, original)
        if declared is not None:
            TENSORS[name] = declared
        _forget_programs()


def _forget_programs():
    for program in (compiled_tensors, few_samples._layer):
        cast(Any, program).clear_cache()
