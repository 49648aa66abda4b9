/* SPDX-License-Identifier: MIT */
/* xylemd: options, signals, the loop. */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <ev.h>

#include "agent/agent.h"
#include "agent/audit.h"
#include "agent/config.h"
#include "agent/log.h"
#include "agent/notify.h"

static const char usage[] =
    "usage: xylemd --dev [--directory DIR]\n"
    "       xylemd --config FILE [--check-config]\n"
    "       xylemd --version | --help\n"
    "\n"
    "Xylem's agent: keeps roots, leaf certificates, intentions and revocations in shared memory.\n"
    "\n"
    "  --dev              a private directory, the built-in CA, no configuration\n"
    "  --directory DIR    with --dev: sockets in DIR, state in DIR/state; default $XDG_RUNTIME_DIR/xylem,\n"
    "                     else a new private directory in /tmp\n"
    "  --config FILE      see xylemd.conf(5); SIGHUP reads it anew, SIGTERM stops\n"
    "  --check-config     reads the configuration, says what is wrong with it, and exits\n"
    "  --version          prints the version\n"
    "  --help             prints this\n";

struct options {
    const char *config;
    const char *directory;
    bool dev;
    bool check;
};

enum { EXIT_USAGE = 2 };

/* Returns -1 to go on, else the exit status. */
static int read_options(int count, char **arguments, struct options *options)
{
    static const struct option known[] = {
        {"dev", no_argument, NULL, 'd'},
        {"directory", required_argument, NULL, 'D'},
        {"config", required_argument, NULL, 'c'},
        {"check-config", no_argument, NULL, 'C'},
        {"version", no_argument, NULL, 'v'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    for (int found; (found = getopt_long(count, arguments, "", known, NULL)) != -1;) {
        switch (found) {
        case 'd':
            options->dev = true;
            break;
        case 'D':
            options->directory = optarg;
            break;
        case 'c':
            options->config = optarg;
            break;
        case 'C':
            options->check = true;
            break;
        case 'v':
            puts("xylemd " XYLEM_VERSION);
            return EXIT_SUCCESS;
        case 'h':
            fputs(usage, stdout);
            return EXIT_SUCCESS;
        default:
            fputs(usage, stderr);
            return EXIT_USAGE;
        }
    }
    if (optind == count && options->dev != (options->config != NULL) &&
        (options->dev || !options->directory) && (options->config || !options->check))
        return -1;
    fputs(usage, stderr);
    return EXIT_USAGE;
}

/* The private directory of --dev, absolute; NULL with a message. */
static char *dev_directory(const char *wanted)
{
    char path[PATH_MAX];
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    if (wanted)
        snprintf(path, sizeof path, "%s", wanted);
    else if (runtime && runtime[0] == '/')
        snprintf(path, sizeof path, "%s/xylem", runtime);
    else
        snprintf(path, sizeof path, "/tmp/xylem-XXXXXX");
    bool fresh = !wanted && !(runtime && runtime[0] == '/');
    if (fresh ? !mkdtemp(path) : mkdir(path, 0700) == -1 && errno != EEXIST) {
        fprintf(stderr, "xylemd: directory %s: %s\n", path, strerror(errno));
        return NULL;
    }
    char *absolute = realpath(path, NULL);
    if (!absolute)
        fprintf(stderr, "xylemd: directory %s: %s\n", path, strerror(errno));
    return absolute;
}

static struct config *read_config(const struct options *options)
{
    struct config *config = NULL;
    struct config_texts warnings = {0};
    struct error error = {0};
    int code;
    if (options->dev) {
        char *directory = dev_directory(options->directory);
        if (!directory)
            return NULL;
        code = config_default_dev(directory, &config, &error);
        if (!code)
            fprintf(stderr,
                    "xylemd: sockets and state are in %s; try: xylemctl --socket %s/admin.sock status\n",
                    directory, directory);
        free(directory);
    } else {
        code = config_load(options->config, &config, &warnings, &error);
    }
    for (size_t i = 0; i < warnings.count; i++)
        fprintf(stderr, "xylemd: warning: %s\n", warnings.items[i]);
    config_texts_free(&warnings);
    if (code)
        fprintf(stderr, "xylemd: %s\n", error.text);
    return config;
}

/* Before anything secret is in memory: no core dumps of it, no ptrace by the same user, no new privileges. */
static void harden(void)
{
    umask(0077);
    signal(SIGPIPE, SIG_IGN);
    if (prctl(PR_SET_DUMPABLE, 0) == -1 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == -1)
        log_warning(log_message("the process could not be hardened"), log_errno(errno));
}

static void on_stop(struct ev_loop *loop, ev_signal *signal, int events)
{
    (void)events;
    log_info(log_message("stopping"), log_text("signal", strsignal(signal->signum)));
    notify_send("STOPPING=1");
    ev_break(loop, EVBREAK_ALL);
}

static void on_reload(struct ev_loop *loop, ev_signal *signal, int events)
{
    (void)loop;
    (void)events;
    agent_reload(signal->data);
}

/* Through udmabuf some kernels let the holder of a sealed memfd write to it all the same. */
static void warn_of_udmabuf(void)
{
    struct stat status;
    if (stat("/dev/udmabuf", &status) == 0 && (status.st_mode & 0066) != 0)
        fputs("xylemd: warning: /dev/udmabuf is open to more users than root; older kernels let its users "
              "write to "
              "regions they may only read: chmod 0600 /dev/udmabuf\n",
              stderr);
}

static int run(struct config *config, const char *path)
{
    struct ev_loop *loop = ev_default_loop(EVFLAG_AUTO | EVFLAG_NOENV);
    struct agent *agent;
    struct error error = {0};
    if (!loop) {
        config_free(config);
        log_error(log_message("no event loop"), log_errno(errno));
        return EXIT_FAILURE;
    }
    /* Before threads start, so that they inherit nothing that only the loop should have. */
    ev_signal terminate, interrupt, hangup;
    ev_signal_init(&terminate, on_stop, SIGTERM);
    ev_signal_init(&interrupt, on_stop, SIGINT);
    ev_signal_init(&hangup, on_reload, SIGHUP);
    ev_signal_start(loop, &terminate);
    ev_signal_start(loop, &interrupt);
    log_configure(config->log_level, config->log_format);
    int code = audit_open(config->audit_file, &error);
    if (code)
        config_free(config);
    else
        code = agent_create(&agent, loop, config, path, &error);
    if (code) {
        log_error(log_message("cannot start"), log_reason(&error));
        audit_close();
        return EXIT_FAILURE;
    }
    hangup.data = agent;
    ev_signal_start(loop, &hangup);
    notify_start_watchdog(loop);
    ev_run(loop, 0);
    agent_destroy(agent);
    audit_close();
    log_info(log_message("stopped"));
    return EXIT_SUCCESS;
}

int main(int count, char **arguments)
{
    struct options options = {0};
    int status = read_options(count, arguments, &options);
    if (status != -1)
        return status;
    harden();
    struct config *config = read_config(&options);
    if (!config)
        return EXIT_FAILURE;
    if (options.check) {
        config_free(config);
        warn_of_udmabuf();
        puts("the configuration is good");
        return EXIT_SUCCESS;
    }
    return run(config, options.config);
}
