# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Demos that need no clone."""
