# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Models on the Hub, with their cards."""
