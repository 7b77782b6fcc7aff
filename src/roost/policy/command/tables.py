"""Knowledge about programs, as data. A program in none of these tables is unknown, not harmless."""

from __future__ import annotations

SHELLS = frozenset("sh bash dash zsh ksh mksh ash fish csh tcsh rbash pwsh powershell".split())

INTERPRETERS: dict[str, frozenset[str]] = {
    **{name: frozenset({"-c"}) for name in "python python2 python3 pypy pypy3 ipython".split()},
    "perl": frozenset({"-e", "-E"}),
    "ruby": frozenset({"-e"}),
    "node": frozenset({"-e", "-p", "--eval", "--print"}),
    "nodejs": frozenset({"-e", "-p", "--eval", "--print"}),
    "deno": frozenset({"eval"}),
    "bun": frozenset({"-e", "--eval"}),
    "php": frozenset({"-r", "-B", "-R"}),
    "lua": frozenset({"-e"}),
    "luajit": frozenset({"-e"}),
    "tclsh": frozenset(),
    "expect": frozenset({"-c"}),
    "Rscript": frozenset({"-e"}),
    "julia": frozenset({"-e", "-E", "--eval"}),
    "osascript": frozenset({"-e"}),
    "groovy": frozenset({"-e"}),
    "scala": frozenset({"-e"}),
    "gdb": frozenset({"-ex", "--eval-command", "-x", "-iex"}),
    "emacs": frozenset({"--eval", "--batch", "-l", "-f"}),
    "vim": frozenset({"-c", "--cmd", "-S", "-es", "-s"}),
    "vi": frozenset({"-c", "--cmd", "-S", "-es", "-s"}),
    "nvim": frozenset({"-c", "--cmd", "-S", "-es", "-s"}),
    "ed": frozenset(),
    "ex": frozenset({"-c", "-s"}),
    "sqlite3": frozenset({"-cmd"}),
    "jshell": frozenset(),
    "m4": frozenset(),
    "bc": frozenset(),
}
"""Programs that run code, and their options that pass it as text. They also run code from a pipe."""

WRAPPERS: dict[str, frozenset[str]] = {
    "sudo": frozenset("-u -g -h -p -C -T -r -t -U -D -R --user --group --host --prompt --chdir".split()),
    "doas": frozenset("-u -C".split()),
    "su": frozenset("-s -g -G -w --shell --group".split()),
    "runuser": frozenset("-u -s -g -G --user --shell --group".split()),
    "pkexec": frozenset({"--user"}),
    "env": frozenset("-u -C --unset --chdir".split()),
    "nice": frozenset({"-n", "--adjustment"}),
    "ionice": frozenset("-c -n --class --classdata".split()),
    "chrt": frozenset("-T -P -D".split()),
    "taskset": frozenset(),
    "timeout": frozenset("-k -s --kill-after --signal".split()),
    "nohup": frozenset(),
    "setsid": frozenset(),
    "stdbuf": frozenset("-i -o -e --input --output --error".split()),
    "time": frozenset("-f -o --format --output".split()),
    "command": frozenset(),
    "builtin": frozenset(),
    "coproc": frozenset(),
    "exec": frozenset({"-a"}),
    "xargs": frozenset("-a -d -E -I -L -n -P -s --arg-file --delimiter --max-args --max-procs --replace".split()),
    "parallel": frozenset("-j -a --jobs --arg-file".split()),
    "busybox": frozenset(),
    "toybox": frozenset(),
    "watch": frozenset("-n --interval".split()),
    "strace": frozenset("-o -e -p -s -u".split()),
    "ltrace": frozenset("-o -e -p -s -u".split()),
    "unbuffer": frozenset(),
    "script": frozenset("-c -t --command".split()),
    "flock": frozenset("-w -E --timeout".split()),
    "chroot": frozenset({"--userspec", "--groups"}),
    "nsenter": frozenset("-t --target -S -G".split()),
    "unshare": frozenset("-S -G --map-user --map-group".split()),
    "setpriv": frozenset("--reuid --regid --groups".split()),
    "systemd-run": frozenset("-p -u --unit --property".split()),
    "proot": frozenset("-r -b -w".split()),
    "fakeroot": frozenset(),
    "dbus-run-session": frozenset(),
    "caffeinate": frozenset(),
    "arch": frozenset(),
    **{
        name: frozenset[str]()
        for name in (
            "bwrap catchsegv eatmydata entr faketime firejail linux32 linux64 numactl perf prlimit setarch ssh-agent"
            " valgrind xvfb-run"
        ).split()
    },
}
"""Programs that run another one, and their options that take a value."""

_PROJECT = "-p --package --python --with --directory --project --extra --group --env-file -C".split()
RUN_IN: dict[str, frozenset[str]] = {
    **{name: frozenset(_PROJECT) for name in "uv poetry pipenv pdm hatch rye pixi bundle".split()},
    **{name: frozenset([*_PROJECT, "-n", "--name", "--cwd"]) for name in "conda mamba micromamba".split()},
}
"""Programs that run another one with a project's packages by `run` or `exec`, and their options that take a value."""

PRIVILEGE = frozenset(
    "sudo doas su runuser pkexec gksudo kdesudo visudo vipw vigr usermod useradd userdel groupadd groupmod passwd"
    " chpasswd gpasswd setcap nsenter unshare chroot mount umount insmod modprobe rmmod kexec sysctl setenforce"
    " capsh newuidmap newgidmap chsh adduser deluser iptables ip6tables nft ufw firewall-cmd machinectl setpriv".split()
)
DESTROYERS = frozenset(
    "mkfs mke2fs mkswap wipefs fdisk sfdisk cfdisk gdisk sgdisk parted shred blkdiscard hdparm cryptsetup lvremove"
    " vgremove pvremove shutdown reboot halt poweroff init telinit badblocks debugfs".split()
)
PERSISTENCE = frozenset("crontab at batch systemctl launchctl update-rc.d chkconfig rc-update loginctl".split())
DECODERS = frozenset(
    "base64 base32 basenc xxd uudecode openssl gpg gunzip zcat gzip bzcat xzcat zstdcat rev tr sed awk od hexdump"
    " printf ascii85 iconv".split()
)
FETCHERS = frozenset(
    "curl wget aria2c http https xh httpie fetch lwp-request lynx links w3m ftp sftp scp rsync nc ncat netcat socat"
    " telnet ssh openssl dig nslookup host git hg svn".split()
)
NET_CATS = frozenset("nc ncat netcat nc.traditional nc.openbsd socat telnet".split())
INSTALLERS: dict[str, frozenset[str]] = {
    **{name: frozenset({"install", "download", "wheel"}) for name in "pip pip3 pip2 pipx conda mamba".split()},
    **{name: frozenset("install i add ci update up upgrade".split()) for name in "npm pnpm yarn bun".split()},
    **{name: frozenset("install remove purge upgrade dist-upgrade full-upgrade add del".split())
       for name in "apt apt-get aptitude dnf yum zypper apk brew port snap flatpak choco winget scoop".split()},
    "pacman": frozenset(),
    "dpkg": frozenset({"-i", "--install", "-r", "-P", "--purge"}),
    "rpm": frozenset({"-i", "-U", "-e", "--install"}),
    "gem": frozenset({"install", "update"}),
    "cargo": frozenset({"install", "add"}),
    "go": frozenset({"install", "get"}),
    "uv": frozenset({"add", "sync", "pip", "tool"}),
    "poetry": frozenset({"add", "install", "update"}),
    "composer": frozenset({"install", "require", "update"}),
    "easy_install": frozenset(),
    "cpan": frozenset(),
    "luarocks": frozenset({"install"}),
}  # fmt: skip
"""Package managers and their words that install; an empty set means always."""
RUNNERS = frozenset("npx pnpx bunx uvx dlx pipx deno".split())
"""Programs that fetch a package and run it in one step."""

LOADERS = frozenset(
    "PATH LD_PRELOAD LD_LIBRARY_PATH LD_AUDIT DYLD_INSERT_LIBRARIES BASH_ENV ENV PROMPT_COMMAND PS4 IFS SHELLOPTS"
    " BASHOPTS PYTHONPATH PYTHONSTARTUP PYTHONHOME NODE_OPTIONS NODE_PATH PERL5OPT PERL5LIB RUBYOPT RUBYLIB CLASSPATH"
    " JAVA_TOOL_OPTIONS _JAVA_OPTIONS GIT_SSH GIT_SSH_COMMAND GIT_EXTERNAL_DIFF GIT_PAGER GIT_EDITOR GIT_ASKPASS"
    " GIT_PROXY_COMMAND GIT_EXEC_PATH GIT_CONFIG_COUNT GIT_CONFIG_GLOBAL PAGER MANPAGER EDITOR VISUAL BROWSER LESSOPEN"
    " LESSCLOSE SSH_ASKPASS SUDO_ASKPASS RSYNC_RSH MAKEFLAGS GCONV_PATH TAR_OPTIONS ZDOTDIR".split()
)
"""Variables that change which programs or code other programs run or load."""

_PLAIN = (
    "ls cat head tail wc nl cut paste join comm uniq tac fold fmt expand unexpand column pr cksum md5sum sha1sum"
    " sha256sum sha512sum b2sum stat du df pwd echo printf true false test [ [[ basename dirname realpath"
    " readlink cal uname whoami id groups nproc uptime free ps pgrep which type whereis diff cmp diff3 grep egrep"
    " fgrep ag strings od hexdump seq sleep expr tr rev jq arch locale tty logname getconf printenv lsof pstree vmstat"
    " lscpu lsblk cd : wait break continue return exit shift let read dirs pushd popd base32 zcat bzcat xzcat look"
    " numfmt tsort factor"
)
_UNLESS = {
    "sort": "-o --output --compress-program",
    "find": "-delete -exec -execdir -ok -okdir -fprint -fprint0 -fprintf -fls",
    "fd": "-x -X --exec --exec-batch",
    "rg": "--pre --hostname-bin",
    "file": "-C --compile",
    "date": "-s --set",
    "hostname": "-F -b",
    "tree": "-o -R",
    "base64": "-o",
    "xxd": "-r",
    "yq": "-i --inplace -s --split-exp",
    "awk": "-f -i --file --include",
    "sed": "-i --in-place -f --file",
    "less": "-o -O --log-file --LOG-FILE -k --lesskey-file --lesskey-src --lesskey-content",
}
READERS: dict[str, frozenset[str]] = {
    **{name: frozenset[str]() for name in _PLAIN.split()},
    **{name: frozenset(options.split()) for name, options in _UNLESS.items()},
}
"""Programs that change nothing except with these options. `awk` and `sed` are examined further."""

GIT_READERS = frozenset(
    "status log show diff blame grep ls-files ls-tree rev-parse describe shortlog cat-file rev-list name-rev"
    " merge-base for-each-ref show-ref count-objects diff-tree whatchanged check-ignore version".split()
)
WRITERS = frozenset("touch mkdir cp mv ln tee install patch split csplit rmdir unlink truncate chmod".split())
"""Programs that change only the files that they name."""

HARMLESS_TARGETS = frozenset("/dev/null /dev/stdout /dev/stderr /dev/fd/1 /dev/fd/2 /dev/tty".split())
SYSTEM = ("/etc", "/bin", "/sbin", "/usr", "/lib", "/lib64", "/boot", "/dev", "/proc", "/sys", "/var", "/root", "/opt",
          "/home", "/Users", "/System", "/Library", "/Applications", "/private", "/srv", "/run")  # fmt: skip
STARTUP = (
    ".bashrc", ".bash_profile", ".bash_login", ".bash_logout", ".profile", ".zshrc", ".zshenv", ".zprofile", ".zlogin",
    ".kshrc", ".cshrc", ".config/fish", ".config/autostart", ".config/systemd", ".ssh/authorized_keys", ".ssh/rc",
    ".ssh/config", ".git/hooks", ".git/config", ".gitconfig", ".config/git", "LaunchAgents", "LaunchDaemons",
    "/etc/cron", "/var/spool/cron", "/etc/systemd", "/etc/init", "/etc/rc", "/etc/profile", "/etc/ld.so", "/etc/bash",
    "/etc/zsh", "/etc/environment", "/etc/pam", ".pythonrc", "sitecustomize.py", "usercustomize.py", ".npmrc",
    ".envrc", ".vimrc", ".emacs", ".inputrc", ".pam_environment", ".xinitrc", ".xprofile",
)  # fmt: skip
"""Places whose content runs automatically later."""

NO_FILES = frozenset(
    "echo printf test [ [[ expr let sleep kill seq export declare local readonly typeset unset read return exit shift"
    " break continue true false : date wait trap cd pushd popd set shopt type which hash basename dirname pwd whoami id"
    " uname hostname tty logger ps pgrep pkill killall getopts umask ulimit nproc yes cal exec".split()
)
"""Programs whose words name no file that they read or change."""
GIT_SHOWS = frozenset("show cat-file diff blame annotate archive grep apply am hash-object".split())
"""Subcommands of git that output the content of named files."""
GLOBBING = frozenset("dotglob extglob globstar nocaseglob nullglob globasciiranges".split())
SCRIPTED = frozenset("sed gsed awk gawk mawk nawk grep egrep fgrep rg ag ack jq yq".split())
"""Programs whose first operand is a pattern or a script."""
