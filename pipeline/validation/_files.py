"""What the user says of one task in a file of its own: expectations/<task>.yaml and expectations/<task>.labels.yaml.

The folder is tracked by git and always there, so that DVC can watch it.
"""

import re
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError

FOLDER = Path("expectations")
MOST = 4_000_000  # bytes


def read(path: Path) -> Any:
    """What a YAML or JSON file holds. Raises: ConfigError for a file that is neither, or above 4 MB."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        content = path.read_bytes()
        text = content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: found {error}; expected a YAML file in UTF-8") from None
    if len(content) > MOST or len(re.findall(r"(?m)(?:^|[\s\[,{])\*\w", text)) > 100:
        raise ConfigError(f"{path}: over 4 MB or over 100 aliases; expected a page or two of YAML")
    try:
        return YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError) as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())[:300]}") from None
