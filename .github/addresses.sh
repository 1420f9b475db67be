#!/bin/sh
# Makes the links of README.md whole for PyPI, which shows it without the files beside it, and names the repository in the
# package's metadata: .github/addresses.sh OWNER/NAME TAG
set -eu
files="https://github.com/$1/blob/$2" pictures="https://raw.githubusercontent.com/$1/$2"
sed -i -E "s#\]\((docs/images/[^)]+)\)#](${pictures}/\1)#g; s#\]\(([^):]+)\)#](${files}/\1)#g" README.md
cat >>pyproject.toml <<END

[project.urls]
Source = "https://github.com/$1"
Documentation = "${files}/docs/index.md"
Changelog = "${files}/CHANGELOG.md"
Issues = "https://github.com/$1/issues"
END
