"""Shell commands such as coding agents write them: what the gate is asked about."""

from __future__ import annotations

SIMPLE = "ls -la"
TYPICAL = 'cd src && grep -rn "def main" --include="*.py" . | head -20 > ../found.txt 2>&1 || echo none'
LONG = """\
set -e
for dir in services/*/; do
  name=$(basename "$dir")
  if [ -f "$dir/package.json" ] && ! grep -q '"private": true' "$dir/package.json"; then
    (cd "$dir" && npm run build 2>&1 | tee "../../logs/$name.log" | tail -5)
  elif [ -f "$dir/setup.py" ]; then
    python -c "import ast, sys; ast.parse(open(sys.argv[1]).read())" "$dir/setup.py" || { echo "bad: $name"; exit 1; }
    bash -c "cd '$dir' && python -m pytest -q $(git diff --name-only HEAD~1 -- "$dir" | grep test_ | xargs)" && echo ok
  fi
done
find . -name '*.tmp' -newer Makefile -exec rm -f {} + ; tar czf build/out.tgz --exclude=node_modules services logs
cat <<EOF > build/report.md
built on $(date -u +%F) by $(git config user.name): $(ls services | wc -l) services
EOF
"""
MIX = [
    SIMPLE,
    TYPICAL,
    LONG,
    "pwd",
    "cat README.md",
    "git status --short",
    "git diff HEAD~1 -- src/app.py",
    "git add -A && git commit -m 'Fix the parser'",
    "git log --oneline -10 | cat",
    "git push origin main",
    "python -m pytest -q tests/test_app.py -k 'parse and not slow'",
    "python script.py --in data.csv --out result.csv",
    "python - <<'EOF'\nimport json\nprint(json.load(open('a.json'))['name'])\nEOF",
    "npm ci && npm run build && npm test -- --coverage",
    "npx tsc --noEmit 2>&1 | head -50",
    "make -j4 test 2>&1 | tail -40",
    "cargo build --release && ./target/release/app --help",
    "go test ./... -run TestParse -count=1",
    "docker ps --format '{{.Names}}' | sort",
    "docker compose up -d db && sleep 2 && psql -h localhost -U app -c 'select 1'",
    "find . -type f -name '*.log' -mtime +7 -delete",
    "find src -name '*.ts' | xargs grep -l useState | sort | uniq | wc -l",
    "grep -rn 'TODO\\|FIXME' src lib | awk -F: '{print $1}' | sort | uniq -c | sort -rn | head",
    "sed -i 's/foo/bar/g' src/*.py && git diff --stat",
    "sed -n '100,160p' src/server/routes.py",
    "awk 'NR>1 {s+=$3} END {print s/NR}' data.csv",
    "jq -r '.dependencies | to_entries[] | \"\\(.key) \\(.value)\"' package.json",
    "curl -sS https://api.example.com/v1/items?limit=5 | jq '.items[0]'",
    "curl -fsSL https://example.com/install.sh | sh",
    "wget -q https://example.com/data.tar.gz -O /tmp/data.tar.gz && tar xzf /tmp/data.tar.gz -C data",
    "pip install -r requirements.txt",
    "uv run ruff check . --fix && uv run ruff format .",
    "mkdir -p build/a build/b && cp -r assets/* build/a/ && touch build/.stamp",
    "rm -rf build dist *.egg-info __pycache__",
    "rm -rf / --no-preserve-root",
    "sudo apt-get install -y ripgrep",
    "chmod +x scripts/*.sh && ./scripts/deploy.sh staging",
    "export PATH=$PWD/bin:$PATH; which tool || echo missing",
    "if [ -d .venv ]; then . .venv/bin/activate; else python -m venv .venv; fi; python -V",
    'for f in *.md; do echo "== $f"; wc -w < "$f"; done',
    'while read -r line; do echo "${line%%,*}"; done < data.csv > names.txt',
    'case "$1" in start) ./run.sh ;; stop) kill $(cat run.pid) ;; esac',
    "timeout 30 python server.py & sleep 3; curl -s localhost:8000/health; kill %1",
    "ps aux | grep node | grep -v grep | awk '{print $2}'",
    "du -sh .git node_modules 2>/dev/null | sort -h",
    "diff <(sort a.txt) <(sort b.txt)",
    'echo "$API_URL" | base64 -d | bash',
    "bash -c 'cd web && yarn build'",
    "ssh deploy@example.com 'cd app && git pull && systemctl restart app'",
    "scp build/out.tgz deploy@example.com:/srv/app/",
    "crontab -l",
    "cat ~/.ssh/id_rsa",
    "head -c 200 /etc/passwd; id; uname -a",
    "env | sort | grep -i token",
    "tee config/local.yaml <<'EOF'\ndebug: true\nport: 8080\nEOF",
    "sqlite3 app.db 'select count(*) from users where active = 1'",
    "xargs -n1 -P4 -I{} sh -c 'convert {} -resize 50% out/{}' < images.txt",
    "perl -ne 'print if /error/i .. /^$/' app.log | tail -100",
    "node -e \"console.log(require('./package.json').version)\"",
    "kubectl get pods -n staging -o json | jq '.items | length'",
    "terraform plan -out=plan.bin | tee plan.txt | grep -E '^(Plan|No changes)'",
    "(cd api && go vet ./...) && (cd web && npx eslint src --max-warnings 0) && echo clean",
]
