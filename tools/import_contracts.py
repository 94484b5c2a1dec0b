"""A contract for import-linter: a package imports none but the listed packages from outside.

import-linter can forbid packages by name. A list of what is allowed also stops the package that somebody adds
next year.
"""

from __future__ import annotations

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class AllowedExternals(Contract):
    """`source` and all below it import only `allowed` from outside the root packages."""

    source = fields.StringField()
    allowed = fields.SetField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Every direct import of `source` that leaves the root packages and is not on the list is an offence.

        Imports of the project's own packages are the business of the layers contract.
        """
        source, allowed = str(self.source), {str(each) for each in self.allowed}  # type: ignore[attr-defined]
        own = set(self.session_options["root_packages"])
        offences: list[str] = []
        for module in sorted({source} | graph.find_descendants(source)):
            for imported in sorted(graph.find_modules_directly_imported_by(module)):
                package = imported.partition(".")[0]
                if package not in allowed and package not in own:
                    offences.append(f"{module} imports {package}")
        return ContractCheck(kept=not offences, metadata={"offences": offences})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """One line for each import that is not allowed."""
        for offence in check.metadata["offences"]:
            output.print_error(offence)
