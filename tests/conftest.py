"""No test sees the profiles that whoever runs it calibrated: only those that ship, unless a test sets a folder of its own."""

from __future__ import annotations

import os

from shapewright.predict.profiles import FOLDER_VARIABLE

os.environ[FOLDER_VARIABLE] = ""
