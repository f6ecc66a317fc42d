"""Every section of a user's bundle, in the order in which they are written and brought in.

A slice that keeps something of users adds its sections to ``SECTIONS``, and all the rest follows:
export, header, check and import.
"""

from typing import Any, Final

from bespoke_workers.users import job_sections, memory_sections, program_sections
from bespoke_workers.users.sections import Section

SECTIONS: Final[tuple[Section[Any], ...]] = (
    *memory_sections.SECTIONS,
    *program_sections.SECTIONS,
    *job_sections.SECTIONS,
)

BY_NAME: Final[dict[str, Section[Any]]] = {section.name: section for section in SECTIONS}
