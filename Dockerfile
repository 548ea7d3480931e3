# The bridge with the runners that most servers need: uvx for Python packages, npx for Node ones.
#   docker build -t mcp-proxyd .
#   docker run --rm -p 127.0.0.1:3000:3000 -e SERVER_COMMAND="uvx mcp-server-fetch" mcp-proxyd
FROM python:3.11-slim

RUN apt-get update \
 && apt-get install -y --no-install-recommends tini nodejs npm git \
 && rm -rf /var/lib/apt/lists/*

WORKDIR /src
COPY pyproject.toml README.md LICENSE CHANGELOG.md ./
COPY proxy ./proxy
COPY tests/constraints.txt ./tests/constraints.txt
RUN pip install --no-cache-dir uv \
 && pip install --no-cache-dir -c tests/constraints.txt .

RUN useradd --create-home --uid 10001 mcp
USER mcp
WORKDIR /home/mcp

ENV MCP_BIND_HOST=0.0.0.0 \
    MCP_PORT=3000 \
    MCP_PROXY_PASS_ENV=*
EXPOSE 3000

# tini is PID 1: it reaps what children leave behind and passes signals on.
ENTRYPOINT ["tini", "--", "mcp-proxy"]
