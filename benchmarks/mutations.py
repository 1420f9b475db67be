"""Small changes of a line of Python that tests should notice: where a source can be changed, and into what.

No mutation where none can matter: annotations, docstrings and other texts, messages of errors, decorators, random
seeds, how many rows are worked on together, and numbers so small that they only keep a divisor from being 0.
"""

import ast
import re
from dataclasses import dataclass

_NEGATED = {
    ast.Lt: ("<", ">="), ast.LtE: ("<=", ">"), ast.Gt: (">", "<="), ast.GtE: (">=", "<"),
    ast.Eq: ("==", "!="), ast.NotEq: ("!=", "=="), ast.Is: ("is", "is not"), ast.IsNot: ("is not", "is"),
    ast.In: ("in", "not in"), ast.NotIn: ("not in", "in"),
}  # fmt: skip
#: Only beside whole numbers: of measured values none is as large as the limit.
_AT_THE_LIMIT = {ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="), ast.GtE: (">=", ">")}
_OTHER_OPERATOR = {
    ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "/"), ast.Div: ("/", "*"),
    ast.BitAnd: ("&", "|"), ast.BitOr: ("|", "&"), ast.FloorDiv: ("//", "*"),
}  # fmt: skip
#: What changes only the speed or the luck of a run, by the name that it is given to.
_WITHOUT_EFFECT = re.compile(r"seed|chunk|together|_around$|n_jobs|version", re.IGNORECASE)

#: Smaller numbers stand in for 0 where one divides or takes a logarithm.
_LEAST = 1e-5


@dataclass(frozen=True, slots=True)
class Mutation:
    """A change of the characters from ``start`` to ``end`` of a source, at a line (from 1)."""

    line: int
    start: int
    end: int
    before: str
    after: str

    def applied(self, source: str) -> str:
        """The source with the change."""
        return source[: self.start] + self.after + source[self.end :]

    def __str__(self) -> str:
        return f"{' '.join(self.before.split())[:60]} -> {' '.join(self.after.split())[:60]}"


def mutations(source: str) -> list[Mutation]:
    """All mutations of a source that leave it valid Python, in the order of its lines."""
    found = _Finder(source)
    found.visit(ast.parse(source))
    unique = {(m.start, m.end, m.after): m for m in found.mutations}
    return sorted(filter(lambda m: _is_valid(m.applied(source)), unique.values()), key=lambda m: (m.start, m.after))


def _is_valid(source: str) -> bool:
    try:
        ast.parse(source)
    except SyntaxError:
        return False
    return True


class _Finder(ast.NodeVisitor):
    def __init__(self, source: str) -> None:
        self._source, self.mutations, self._is_in_brackets = source, [], False
        # Columns of the syntax tree count bytes.
        self._starts = [0]
        self._lines = source.splitlines(keepends=True)
        for line in self._lines:
            self._starts.append(self._starts[-1] + len(line))

    def _place(self, line: int, column: int) -> int:
        return self._starts[line - 1] + len(self._lines[line - 1].encode()[:column].decode())

    def _begin(self, node: ast.expr | ast.stmt) -> int:
        return self._place(node.lineno, node.col_offset)

    def _end(self, node: ast.expr | ast.stmt) -> int:
        return self._place(node.end_lineno or node.lineno, node.end_col_offset or 0)

    def _add(self, start: int, end: int, after: str) -> None:
        line = self._source.count("\n", 0, start) + 1
        self.mutations.append(Mutation(line, start, end, self._source[start:end], after))

    def _between(self, left: ast.expr, right: ast.expr, change: tuple[str, str]) -> None:
        """Change an operator that stands between two expressions."""
        start, end = self._end(left), self._begin(right)
        pattern = re.escape(change[0]).replace(r"\ ", r"\s+")
        pattern = rf"\b{pattern}\b" if change[0][0].isalpha() else pattern
        if found := re.search(pattern, self._source[start:end]):
            self._add(start + found.start(), start + found.end(), change[1])

    def visit_Compare(self, node: ast.Compare) -> None:
        operands = [node.left, *node.comparators]
        for left, operator, right in zip(operands, node.ops, operands[1:], strict=False):
            self._between(left, right, _NEGATED[type(operator)])
            if type(operator) in _AT_THE_LIMIT and (_is_whole(left) or _is_whole(right)):
                self._between(left, right, _AT_THE_LIMIT[type(operator)])
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        change = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for left, right in zip(node.values, node.values[1:], strict=False):
            self._between(left, right, change)
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        is_text = any(isinstance(n, (ast.JoinedStr, ast.Constant)) and not _is_number(n) for n in ast.walk(node))
        if type(node.op) in _OTHER_OPERATOR and not is_text:
            self._between(node.left, node.right, _OTHER_OPERATOR[type(node.op)])
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if not isinstance(node.op, ast.UAdd):
            self._add(self._begin(node), self._begin(node.operand), "")
        # But for a place counted from the end, -1 says that there is none, as any other negative number does.
        if ast.unparse(node) != "-1" or self._is_in_brackets:
            self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        self.visit(node.value)
        outside, self._is_in_brackets = self._is_in_brackets, True
        self.visit(node.slice)
        self._is_in_brackets = outside

    def visit_Constant(self, node: ast.Constant) -> None:
        if not _is_number(node):
            return
        value = node.value
        assert isinstance(value, (int, float))  # noqa: S101 - for the type checker
        if 0 < value < _LEAST:
            return
        larger = value + 1 if isinstance(value, int) or value == 0 else 1.5 * value
        self._add(self._begin(node), self._end(node), repr(larger))

    def visit_Dict(self, node: ast.Dict) -> None:
        if not all(map(_is_sign, node.values)):
            self.generic_visit(node)
            return
        # A table of signs: how large they are matters to nothing.
        for value in node.values:
            self._add(self._begin(value), self._end(value), "-1" if ast.unparse(value) == "1" else "1")

    def visit_Return(self, node: ast.Return) -> None:
        if node.value is not None and not (isinstance(node.value, ast.Constant) and node.value.value is None):
            self._add(self._begin(node.value), self._end(node.value), "None")
        self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        for default in [*node.args.defaults, *filter(None, node.args.kw_defaults)]:
            self.visit(default)
        for statement in node.body:
            self.visit(statement)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for statement in node.body:
            self.visit(statement)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None and not _WITHOUT_EFFECT.search(ast.unparse(node.target)):
            self.visit(node.value)

    def visit_Assign(self, node: ast.Assign) -> None:
        if not any(_WITHOUT_EFFECT.search(ast.unparse(target)) for target in node.targets):
            self.generic_visit(node)

    def visit_keyword(self, node: ast.keyword) -> None:
        if not _WITHOUT_EFFECT.search(node.arg or ""):
            self.generic_visit(node)

    def _skip(self, node: ast.AST) -> None:
        """Nothing in it matters to what is computed: texts, messages, types."""
        del node

    visit_Raise = visit_JoinedStr = visit_Assert = visit_TypeAlias = _skip  # noqa: N815


def _is_sign(node: ast.AST) -> bool:
    return ast.unparse(node) in ("1", "-1")


def _is_number(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) in (int, float)


def _is_whole(node: ast.expr) -> bool:
    """Whether an expression is a whole number by its looks: a literal, a length, a sum of a mask."""
    if isinstance(node, ast.Constant):
        return type(node.value) is int
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "len"
