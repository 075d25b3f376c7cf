"""List the mutants of a module, one JSON object per line: cosmic-ray's operators, and four of our own.

    python -m tests.mutation.list_mutants secure_xcom/core/seal.py

This is the only file that needs cosmic-ray, so it runs in that tool's own environment.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import parso
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators import (
    binary_operator_replacement,
    boolean_replacer,
    break_continue,
    comparison_operator_replacement,
    number_replacer,
    remove_decorator,
    unary_operator_replacement,
    zero_iteration_for_loop,
)
from cosmic_ray.operators.operator import Operator

# Of each comparison, its negation and the same with the other side of the boundary. The other replacements that
# cosmic-ray has are killed by whatever kills these, and would be four fifths of all mutants.
_COMPARISONS = {
    "Eq_NotEq",
    "NotEq_Eq",
    "Lt_LtE",
    "Lt_GtE",
    "LtE_Lt",
    "LtE_Gt",
    "Gt_GtE",
    "Gt_LtE",
    "GtE_Gt",
    "GtE_Lt",
}
_COMPARISONS |= {"Is_IsNot", "IsNot_Is"}
# One other operator for each, for the same reason.
_BINARY = {"Add_Sub", "Sub_Add", "Mul_FloorDiv", "FloorDiv_Mul", "Div_Mul", "Mod_Add", "Pow_Mul"}
_BINARY |= {"RShift_LShift", "LShift_RShift", "BitAnd_BitOr", "BitOr_BitAnd", "BitXor_BitAnd"}


class _OurOperator(Operator):  # type: ignore[misc]  # cosmic-ray is not typed.
    """An operator that makes at most one mutation of a node."""

    @classmethod
    def examples(cls) -> tuple[()]:
        return ()

    def mutation_positions(self, node: Any) -> Iterator[tuple[Any, Any]]:
        if self._replacement(node) is not None:
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        return self._replacement(node)

    def _replacement(self, node: Any) -> Any:
        raise NotImplementedError


class ForgetStatement(_OurOperator):
    """Leave out what is raised, called or returned."""

    def _replacement(self, node: Any) -> Any:
        if node.parent is None or node.parent.type != "simple_stmt" or node.parent.children[0] is not node:
            return None
        called = node.type in ("atom_expr", "power") and node.children[-1].get_code().startswith("(")
        if node.type == "raise_stmt" or called:
            return _parsed(node, "pass")
        if node.type == "return_stmt" and len(node.children) > 1:
            return _parsed(node, "return None")
        return None


class ChangeName(_OurOperator):
    """Change a string that is a name or a value. What has a space is text for people, and no test repeats that."""

    def _replacement(self, node: Any) -> Any:
        if node.type != "string" or " " in node.value or "\n" in node.value:
            return None
        quote = node.value[-1]
        return _parsed(node, node.value[:-1] + "~" + quote)


class NegateMembership(_OurOperator):
    """Replace `in` by `not in` and the reverse."""

    def _replacement(self, node: Any) -> Any:
        if node.parent is None or node.parent.type not in ("comparison", "comp_op"):
            return None
        if node.type == "comp_op" and node.get_code().split() == ["not", "in"]:
            return _parsed(node, "in")
        if node.parent.type == "comparison" and node.type == "keyword" and node.value == "in":
            return _parsed(node, "not in")
        return None


class CatchNothing(_OurOperator):
    """Let an exception pass. Cosmic-ray's own operator fails where its name has a dot."""

    def _replacement(self, node: Any) -> Any:
        if node.type != "except_clause":
            return None
        bound = "".join(part.get_code() for part in node.children[2:])
        return _parsed(node, f"except (){bound}")


def _parsed(node: Any, code: str) -> Any:
    return parso.parse(node.get_first_leaf().prefix + code)


def _operators() -> Iterator[Operator]:
    modules = (
        boolean_replacer,
        break_continue,
        number_replacer,
        remove_decorator,
        unary_operator_replacement,
        zero_iteration_for_loop,
        binary_operator_replacement,
        comparison_operator_replacement,
    )
    for module in modules:
        chosen = {binary_operator_replacement: _BINARY, comparison_operator_replacement: _COMPARISONS}.get(module)
        for name, operator in sorted(vars(module).items()):
            is_operator = isinstance(operator, type) and issubclass(operator, Operator)
            if not is_operator or operator.__module__ != module.__name__:
                continue
            if chosen is None or name.partition("_")[2] in chosen:
                yield operator()
    yield from (ForgetStatement(), ChangeName(), NegateMembership(), CatchNothing())


class _WithoutTypes(ast.NodeTransformer):
    """Leave out what runs in no test: annotations, docstrings, and imports for the type checker."""

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        if node.decorator_list and "overload" in ast.dump(node.decorator_list[0]):
            return ast.Pass()
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.annotation = ast.Constant(None)
        return self.generic_visit(node)

    def visit_If(self, node: ast.If) -> ast.AST:
        return ast.Pass() if "TYPE_CHECKING" in ast.dump(node.test) else self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        return ast.Pass() if isinstance(node.value, ast.Constant) else self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        # The name of a type variable and what a cast says are for the type checker too.
        typing_only = isinstance(node.func, ast.Name) and node.func.id in ("TypeVar", "ParamSpec", "cast")
        if typing_only and node.args:
            node.args[0] = ast.Constant(None)
        return self.generic_visit(node)


def _meaning(source: str) -> str:
    return ast.dump(_WithoutTypes().visit(ast.parse(source)))


def mutants(source: str) -> Iterator[dict[str, Any]]:
    """Yield each mutant that Python would run otherwise: its operator, line, both texts and the source."""
    seen = {_meaning(source)}
    for operator in _operators():
        for occurrence in range(sys.maxsize):
            mutated = mutate_code(source, operator, occurrence)
            if mutated is None:
                break
            try:
                meaning = _meaning(mutated)
            except SyntaxError:
                continue
            if meaning in seen:
                continue
            seen.add(meaning)
            before, after = source.splitlines(), mutated.splitlines()
            line = next(number for number, text in enumerate(before) if after[number : number + 1] != [text])
            yield {
                "operator": type(operator).__name__,
                "line": line + 1,
                "before": before[line].strip(),
                "after": after[line].strip() if len(after) > line else "",
                "source": mutated,
            }


if __name__ == "__main__":
    for mutant in mutants(Path(sys.argv[1]).read_text()):
        print(json.dumps(mutant))
