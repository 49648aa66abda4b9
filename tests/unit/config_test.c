/* SPDX-License-Identifier: MIT */
#include "agent/config.h"

#include "agent/duration.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct config *parse(const char *text, struct config_texts *warnings)
{
    struct config *config = NULL;
    struct error error;
    if (config_parse("test.conf", text, strlen(text), &config, warnings, &error) != 0)
        fail_msg("%s", error.text);
    return config;
}

static void test_defaults(void **state)
{
    (void)state;
    struct config_texts warnings = {0};
    struct config *c = parse("", &warnings);
    assert_int_equal(warnings.count, 0);
    assert_string_equal(c->state_directory, "/var/lib/xylem");
    assert_string_equal(c->run_directory, "/run/xylem");
    assert_string_equal(c->datacenter, "dc1");
    assert_null(c->key_file);
    assert_null(c->audit_file);
    assert_int_equal(c->default_policy, CONFIG_DENY);
    assert_false(c->strict_trust_domain);
    assert_true(c->connect_enabled);
    assert_int_equal(c->identity_count, 1);
    assert_string_equal(c->identities[0].pattern, CONFIG_CONSUL_PATTERN);
    assert_true(c->ca.leaf_cert_ttl_ns == 72 * DURATION_HOUR);
    assert_true(c->ca.intermediate_cert_ttl_ns == 8760 * DURATION_HOUR);
    assert_true(c->ca.root_cert_ttl_ns == 87600 * DURATION_HOUR);
    assert_int_equal(c->ca.private_key_type, CONFIG_KEY_EC);
    assert_int_equal(c->ca.private_key_bits, 256);
    assert_true(c->ca.csr_max_per_second == 50);
    assert_int_equal(c->service_count, 0);
    assert_int_equal(c->attach_count, 1);
    assert_string_equal(c->attaches[0].socket.path, "/run/xylem/attach.sock");
    assert_int_equal(c->attaches[0].socket.mode, 0666);
    assert_true(c->attaches[0].socket.user == CONFIG_UID_UNSET);
    assert_int_equal(c->admin_count, 1);
    assert_string_equal(c->admins[0].socket.path, "/run/xylem/admin.sock");
    assert_int_equal(c->admins[0].socket.mode, 0660);
    assert_int_equal(c->admins[0].level, CONFIG_VIEWER);
    assert_true(c->leaves.on_request);
    assert_int_equal(c->leaves.on_request_max, 64);
    assert_int_equal(c->limits.clients, 1024);
    assert_int_equal(c->limits.clients_per_uid, 64);
    config_free(c);
}

static const char full[] =
    "# A comment with { and \" and ${X} in it\n"
    "config_version = 1 // and another\n"
    "state_directory = \"/srv/xylem\" /* and\n one over two lines */\n"
    "run_directory = /run/x\n"
    "key_file = \"/etc/xylem/key\"\n"
    "datacenter = \"EU-1\"\n"
    "default_policy = allow\n"
    "strict_trust_domain = true\n"
    "log { format = json  level = \"debug\" }\n"
    "audit { file = \"/var/log/xylem/audit.log\" }\n"
    "identity \"consul\" { pattern = "
    "\"spiffe://{trust_domain}/ns/{namespace}/dc/{datacenter}/svc/{service}\" }\n"
    "identity \"istio\" { pattern = 'spiffe://{trust_domain}/ns/{namespace}/sa/{service}' }\n"
    "service \"web\" {\n"
    "  users = {\"root\", \"1001\",}\n"
    "  groups = {0}\n"
    "  dns = {\"web.example.com\", \"*.web.example.com\"}\n"
    "  ip = {10.0.0.1, \"::1\"}\n"
    "}\n"
    "service db { namespace = prod partition = p1 users = 1002 }\n"
    "leaves { on_request = false on_request_max = 5 on_request_users = {0} unused_after = \"1h30m\" }\n"
    "attach default { mode = \"0600\" user = root group = 7 }\n"
    "attach \"pod\" { path = \"/srv/pod/xylem.sock\" services = {\"web\"} }\n"
    "attach \"other\" { }\n"
    "admin \"ops\" { level = operator viewers = {@0} operators = {1003, \"@root\"} admins = {root} }\n"
    "limits { clients = 10 clients_per_uid = 2 regions_per_uid = 3 policy_region_bytes_max = 64KiB\n"
    "  scope_region_bytes_max = 2MiB supersede_interval = \"500ms\" }\n";

static void test_full(void **state)
{
    (void)state;
    struct config_texts warnings = {0};
    struct config *c = parse(full, &warnings);
    assert_int_equal(warnings.count, 0);
    assert_string_equal(c->state_directory, "/srv/xylem");
    assert_string_equal(c->run_directory, "/run/x");
    assert_string_equal(c->key_file, "/etc/xylem/key");
    assert_string_equal(c->datacenter, "eu-1");
    assert_int_equal(c->default_policy, CONFIG_ALLOW);
    assert_true(c->strict_trust_domain);
    assert_int_equal(c->log_format, LOG_JSON);
    assert_int_equal(c->log_level, LOG_DEBUG);
    assert_string_equal(c->audit_file, "/var/log/xylem/audit.log");
    assert_int_equal(c->identity_count, 2);
    assert_string_equal(c->identities[1].name, "istio");
    assert_string_equal(c->identities[1].pattern, "spiffe://{trust_domain}/ns/{namespace}/sa/{service}");
    assert_int_equal(c->service_count, 2);
    assert_string_equal(c->services[0].name, "web");
    assert_string_equal(c->services[0].namespace_name, "default");
    assert_int_equal(c->services[0].access.user_count, 2);
    assert_int_equal(c->services[0].access.users[0], 0);
    assert_int_equal(c->services[0].access.users[1], 1001);
    assert_int_equal(c->services[0].access.group_count, 1);
    assert_int_equal(c->services[0].dns.count, 2);
    assert_string_equal(c->services[0].dns.items[1], "*.web.example.com");
    assert_string_equal(c->services[0].ip.items[1], "::1");
    assert_string_equal(c->services[1].namespace_name, "prod");
    assert_string_equal(c->services[1].partition, "p1");
    assert_int_equal(c->services[1].access.users[0], 1002);
    assert_false(c->leaves.on_request);
    assert_int_equal(c->leaves.on_request_max, 5);
    assert_int_equal(c->leaves.on_request_access.user_count, 1);
    assert_true(c->leaves.unused_after_ns == 90 * DURATION_MINUTE);
    assert_int_equal(c->attach_count, 3);
    assert_string_equal(c->attaches[0].socket.path, "/run/x/attach.sock");
    assert_int_equal(c->attaches[0].socket.mode, 0600);
    assert_int_equal(c->attaches[0].socket.user, 0);
    assert_int_equal(c->attaches[0].socket.group, 7);
    assert_string_equal(c->attaches[1].socket.path, "/srv/pod/xylem.sock");
    assert_string_equal(c->attaches[1].services.items[0], "web");
    assert_string_equal(c->attaches[2].socket.path, "/run/x/other.sock");
    assert_int_equal(c->admin_count, 1);
    assert_string_equal(c->admins[0].socket.path, "/run/x/ops.sock");
    assert_int_equal(c->admins[0].level, CONFIG_OPERATOR);
    assert_int_equal(c->admins[0].access[CONFIG_VIEWER].group_count, 1);
    assert_int_equal(c->admins[0].access[CONFIG_OPERATOR].user_count, 1);
    assert_int_equal(c->admins[0].access[CONFIG_OPERATOR].group_count, 1);
    assert_int_equal(c->admins[0].access[CONFIG_ADMIN].users[0], 0);
    assert_int_equal(c->limits.clients, 10);
    assert_true(c->limits.policy_region_bytes_max == 65536);
    assert_true(c->limits.scope_region_bytes_max == 2 << 20);
    assert_true(c->limits.supersede_interval_ns == 500 * DURATION_MILLISECOND);
    config_free(c);
}

/* The block as Consul's documentation writes it, with keys of old versions. */
static void test_consul_block(void **state)
{
    (void)state;
    struct config_texts warnings = {0};
    struct config *c = parse("connect {\n"
                             "    enabled = true\n"
                             "    ca_provider = \"consul\"\n"
                             "    ca_config {\n"
                             "        cluster_id = \"36CB52CD-4058-f811-0432-6798a240c5d3\"\n"
                             "        leaf_cert_ttl = \"24h\"\n"
                             "        intermediate_cert_ttl = \"72h\"\n"
                             "        root_cert_ttl = \"720h\"\n"
                             "        private_key_type = \"rsa\"\n"
                             "        private_key_bits = 4096\n"
                             "        private_key = \"-----BEGIN RSA PRIVATE KEY-----\\nMIIE\\n\"\n"
                             "        root_cert = \"-----BEGIN CERTIFICATE-----\nMIID\n\"\n"
                             "        csr_max_per_second = 12.5\n"
                             "        csr_max_concurrent = 2\n"
                             "        rotation_period = \"2160h\"\n"
                             "    }\n"
                             "}\n",
                             &warnings);
    assert_string_equal(c->ca.cluster_id, "36cb52cd-4058-f811-0432-6798a240c5d3");
    assert_true(c->ca.leaf_cert_ttl_ns == 24 * DURATION_HOUR);
    assert_int_equal(c->ca.private_key_type, CONFIG_KEY_RSA);
    assert_int_equal(c->ca.private_key_bits, 4096);
    assert_string_equal(c->ca.private_key, "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n");
    assert_string_equal(c->ca.root_cert, "-----BEGIN CERTIFICATE-----\nMIID\n");
    assert_true(c->ca.csr_max_per_second == 12.5);
    assert_int_equal(c->ca.csr_max_concurrent, 2);
    assert_int_equal(warnings.count, 2);
    assert_non_null(strstr(warnings.items[0], "test.conf:11: private_key in the configuration file"));
    assert_null(strstr(warnings.items[0], "MIIE"));
    assert_non_null(strstr(warnings.items[1], "test.conf:17: rotation_period never had an effect"));
    config_texts_free(&warnings);
    config_free(c);
    c = parse("connect { ca_config { skip_validate = true leaf_cert_ttl = 1m private_key_bits = 7 "
              "private_key = \"\" } }",
              NULL);
    assert_true(c->ca.leaf_cert_ttl_ns == DURATION_MINUTE);
    assert_null(c->ca.private_key);
    config_free(c);
    c = parse("connect { enabled = false }", &warnings);
    assert_int_equal(warnings.count, 1);
    assert_non_null(strstr(warnings.items[0], "test.conf:1: enabled = false has no effect"));
    config_texts_free(&warnings);
    config_free(c);
}

#define CA(text) "connect {\nca_config {\n" text "\n}\n}\n"

static const struct {
    const char *text;
    const char *refusal;
} refusals[] = {
    /* What the guard keeps from libconfuse. */
    {"log {\n", "test.conf:1: { is not closed"},
    {"\nlog { level = info\n\n", "test.conf:2: { is not closed"},
    {"log { } }\n", "test.conf:1: } closes nothing"},
    {"\n\ndatacenter = \"dc1\n\n", "test.conf:3: string is not closed"},
    {"datacenter = 'dc1\n", "test.conf:1: string is not closed"},
    {"/* never\nends", "test.conf:1: comment is not closed"},
    {"# one\n# two\n/* three\nfour */ wrong = 1\n", "test.conf:4: no such option 'wrong'"},
    {"datacenter = \"${HOME}\"\n", "test.conf:1: ${...} is not expanded"},
    {"datacenter = ${HOME}\n", "test.conf:1: ${...} is not expanded"},
    {"datacenter = \"a\\0b\"\n", "test.conf:1: unknown escape"},
    {"datacenter = \"a\\x00b\"\n", "test.conf:1: unknown escape"},
    {"datacenter = 'a\\\nb'\n", "test.conf:1: backslash at the end"},
    {"datacenter = \"a\x01\"\n", "test.conf:1: control character 0x01"},
    {"datacenter = \"\xff\"\n", "test.conf:1: not valid UTF-8"},
    {"\n\"datacenter\" = a\n", "test.conf:2: quoted text in a place of its own"},
    {"log { \"level\" = info }\n", "test.conf:1: quoted text in a place of its own"},
    {"service \"a\" \"b\" { }\n", "test.conf:1: quoted text in a place of its own"},
    {"datacenter = a \"connect|enabled\" = true\n", "test.conf:1: quoted text in a place of its own"},
    {"include(\"/etc/passwd\")\n", "test.conf:1: there are no functions and no include()"},
    {"service \"web\" { users = [\"root\"] }\n", "test.conf:1: lists are written"},
    {"datacenter += a\n", "test.conf:1: unexpected character"},
    {"a{a{a{a{a{a{a{a{a{", "test.conf:1: sections nested too deeply"},
    /* What libconfuse refuses. */
    {"\n\nservices \"a\" { }\n",
     "test.conf:3: no such option 'services'; see xylemd.conf(5) for the keys of the file"},
    {"log {\n\n colour = true }\n",
     "test.conf:3: no such option 'colour'; see xylemd.conf(5) for the keys of section log"},
    {"service \"web\" { }\nservice \"db\" { }\nservice \"web\" { }\n",
     "test.conf:3: found duplicate title 'web': two sections"},
    {"datacenter dc1\n", "test.conf:1: missing equal sign"},
    {"datacenter = { a }\n", "test.conf:1: unexpected token '{'"},
    {"log = info\n", "test.conf:1: missing opening brace"},
    {"service { }\n", "test.conf:1: missing title"},
    {"datacenter =\n", "premature end of file"},
    {"datacenter = a\n\ndatacenter = b\n", "test.conf:3: datacenter is given twice"},
    {"log { level = info }\nlog {\nlevel = debug }\n", "test.conf:3: level is given twice"},
    {"service a { users = {1}\nusers = {2} }\n", "test.conf:2: users is given twice"},
    /* Values. */
    {"config_version = 2\n", "test.conf:1: config_version \"2\" is not known; this version reads 1"},
    {"\nstate_directory = \"var/lib\"\n", "test.conf:2: state_directory \"var/lib\" is not an absolute path"},
    {"run_directory = ./x\n", "test.conf:1: run_directory \"./x\" is not an absolute path"},
    {"audit { file = audit.log }\n", "test.conf:1: file \"audit.log\" is not an absolute path"},
    {"datacenter = \"\"\n", "test.conf:1: datacenter \"\" must not be empty"},
    {"datacenter = \"a/b\"\n", "test.conf:1: datacenter \"a/b\" has a character that is not allowed"},
    {"default_policy = maybe\n",
     "test.conf:1: default_policy \"maybe\" is unknown; write one of \"deny\", \"allow\""},
    {"strict_trust_domain = 1\n",
     "test.conf:1: strict_trust_domain \"1\" is unknown; write one of \"false\", \"true\""},
    {"log {\nlevel = loud }\n", "test.conf:2: level \"loud\" is unknown"},
    {"limits { clients = 0 }\n", "test.conf:1: clients \"0\" is not a whole number from 1 to 65536"},
    {"limits { clients = -1 }\n", "test.conf:1: clients \"-1\" is not a whole number"},
    {"limits { clients = 0x10 }\n", "test.conf:1: clients \"0x10\" is not a whole number"},
    {"limits { clients = 99999999999999999999 }\n",
     "test.conf:1: clients \"99999999999999999999\" is not a whole"},
    {"limits { clients = 4294967297 }\n", "test.conf:1: clients \"4294967297\" is not a whole"},
    {"limits { policy_region_bytes_max = 99999999999GiB }\n", "test.conf:1: policy_region_bytes_max"},
    {"limits { policy_region_bytes_max = 18014398509481984KiB }\n", "is not a size"},
    {"limits { policy_region_bytes_max = 1MB }\n", "is not a size; write bytes, or 64KiB"},
    {"limits { policy_region_bytes_max = 1 }\n", "is not between 65536 and"},
    {"leaves { unused_after = 72 }\n", "test.conf:1: unused_after: duration \"72\" lacks a known unit"},
    {"leaves { unused_after = 9999999999h }\n",
     "test.conf:1: unused_after: duration \"9999999999h\" is too large"},
    {"leaves { unused_after = 1s }\n", "test.conf:1: unused_after \"1s\" is too short; the least is 1m0s"},
    {"leaves { unused_after = -5h }\n", "is too short"},
    /* Sections. */
    {"identity \"x\" { }\n", "test.conf:1: identity \"x\" has no pattern"},
    {"identity \"x\" { pattern = \"/ns/{service}\" }\n", "must begin with spiffe://"},
    {"identity \"x\" { pattern = \"spiffe://{trust_domain}/ns/{namespace}\" }\n", "lacks {service}"},
    {"identity \"x\" { pattern = \"spiffe://{trust_domain}/{service}/{service}\" }\n",
     "same placeholder twice"},
    {"identity \"x\" { pattern = \"spiffe://{trust_domain}/{pod}/{service}\" }\n", "nothing else in braces"},
    {"identity \"x\" { pattern = \"spiffe://{trust_domain}/{namespace}{service}\" }\n",
     "nothing between them"},
    {"identity \"x\" { pattern = \"spiffe://a/{service}/{trust_domain}\" }\n", "right after spiffe://"},
    {"identity \"x\" { pattern = \"spiffe://a/{service}}\" }\n", "has a } without its {"},
    {"service \"\" { }\n", "test.conf:1: service \"\": its name must not be empty"},
    {"service \"a/b\" { }\n", "test.conf:1: service \"a/b\": its name has a character"},
    {"service \"..\" { }\n", "its name must not be only dots"},
    {"service \"*\" { }\n", "test.conf:1: service \"*\": its name"},
    {"service \"web\" {\nusers = {\"no-such-user-here\"} }\n",
     "test.conf:2: users: there is no user \"no-such-user-here\"; create it, or write a uid"},
    {"service \"web\" { groups = {\"no-such-group-here\"} }\n", "test.conf:1: groups: there is no group"},
    {"service \"web\" { users = {4294967295} }\n", "there is no user \"4294967295\""},
    {"service \"web\" { users = {\"-1\"} }\n", "there is no user \"-1\""},
    {"service \"web\" { dns = {\"a..b\"} }\n", "test.conf:1: dns: \"a..b\" is not a DNS name"},
    {"service \"web\" { dns = {\"a\",\n\"a\"} }\n", "test.conf:2: dns has \"a\" twice"},
    {"service \"web\" { ip = {\"10.0.0\"} }\n", "test.conf:1: ip: \"10.0.0\" is not an IPv4 or IPv6 address"},
    {"attach \"a\" { mode = 0888 }\n", "test.conf:1: mode \"0888\" is not an octal mode"},
    {"attach \"a\" { mode = 7777 }\n", "is not an octal mode"},
    {"attach \"../x\" { }\n", "test.conf:1: attach \"../x\": its name"},
    {"attach \"a\" { path = /run/x/1 }\nadmin \"b\" { path = /run/x/1 }\n",
     "test.conf:2: socket /run/x/1 is used twice"},
    {"attach \"a\" { path = "
     "/rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr"
     "rrrrrrrrrrrrrrrrrrrrrrrrrr }\n",
     "is too long for a socket; use at most 107 bytes"},
    {"admin \"a\" { level = root }\n", "test.conf:1: level \"root\" is unknown; write one of \"viewer\""},
    {"admin \"a\" { admins = {\"@no-such-group-here\"} }\n", "there is no group \"no-such-group-here\""},
    {"key_file = /a\nkey_credential = b\n", "test.conf:2: key_file and key_credential are both given"},
    {"key_credential = \"a/b\"\n", "test.conf:1: key_credential \"a/b\" has a character"},
    {"key_credential = \"b\"\n", "test.conf:1: key_credential: $CREDENTIALS_DIRECTORY is not set"},
    /* The CA, in Consul's words. */
    {"connect {\nca_provider = \"vault\"\nca_config {\naddress = \"http://localhost:8200\"\ntoken = \"x\" } "
     "}\n",
     "test.conf:2: ca_provider \"vault\": this version has the built-in CA only"},
    {CA("root_pki_path = \"x\""), "test.conf:3: root_pki_path belongs to another ca_provider"},
    {CA("cluster_id = \"x\""), "test.conf:3: cluster_id \"x\" is not a UUID"},
    {CA("leaf_cert_ttl = 59m"), "test.conf:3: leaf cert TTL must be greater or equal than 1h0m0s"},
    {CA("leaf_cert_ttl = 8761h"), "test.conf:3: leaf cert TTL must be less than 8760h0m0s"},
    {CA("intermediate_cert_ttl = 2h"), "test.conf:3: Intermediate Cert TTL must be greater or equal than 3h"},
    {CA("\nintermediate_cert_ttl = 215h"),
     "test.conf:4: Intermediate Cert TTL must be greater or equal than 3 * LeafCertTTL (>=216h0m0s)."},
    {CA("root_cert_ttl = 1h"),
     "test.conf:3: root cert TTL is set and is not greater than intermediate cert ttl. "
     "root cert ttl: 1h0m0s, intermediate cert ttl: 8760h0m0s"},
    {CA("private_key_type = EC"), "test.conf:3: private key type must be either 'ec' or 'rsa'"},
    {CA("private_key_type = rsa"), "RSA key length must be 2048 or 4096 bits"},
    {CA("private_key_bits = 512"), "test.conf:3: EC key length must be one of (224, 256, 384, 521) bits"},
    {CA("csr_max_per_second = nan"), "test.conf:3: csr_max_per_second \"nan\" is not a number"},
    {CA("csr_max_per_second = 1.2.3"), "csr_max_per_second \"1.2.3\" is not a number"},
    {CA("csr_max_per_second = -1"), "csr_max_per_second \"-1\" is not a number"},
    {CA("root_cert = \"-----BEGIN CERTIFICATE-----\""),
     "test.conf:3: must provide a private key when providing a root cert"},
    {CA("private_key = \"secret\""), "test.conf:3: private_key is not PEM"},
    {CA("private_key = \"-----BEGIN x\"\nprivate_key_file = /x"),
     "test.conf:4: private_key and private_key_file"},
    {CA("private_key_file = x"), "test.conf:3: private_key_file \"x\" is not an absolute path"},
    {CA("private_key_file = /nonexistent"),
     "test.conf:3: private_key_file /nonexistent: No such file or directory"},
    {CA("root_cert_file = /dev/zero"), "test.conf:3: root_cert_file /dev/zero: is not a regular file"},
};

static void test_refusals(void **state)
{
    (void)state;
    unsetenv("CREDENTIALS_DIRECTORY");
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        struct config *config = NULL;
        struct config_texts warnings = {0};
        struct error error = {0};
        int status =
            config_parse("test.conf", refusals[i].text, strlen(refusals[i].text), &config, &warnings, &error);
        if (status != ERROR_INVALID || !strstr(error.text, refusals[i].refusal))
            fail_msg("%s\n  gave %d \"%s\"\n  instead of \"%s\"", refusals[i].text, status, error.text,
                     refusals[i].refusal);
        assert_memory_equal(error.text, "test.conf:", 10);
        assert_in_range(error.text[10], '1', '9');
        assert_null(strstr(error.text, "secret"));
        assert_null(config);
        assert_int_equal(warnings.count, 0);
        /* And the next file is read as if nothing had been. */
        config = parse("datacenter = after\n", NULL);
        assert_string_equal(config->datacenter, "after");
        config_free(config);
    }
}

static void test_warnings(void **state)
{
    (void)state;
    struct config_texts warnings = {0};
    struct config *c = parse("leaves { on_request = false }\n"
                             "service \"a\" { }\n"
                             "service \"b\" { users = {\"65534\"} }\n"
                             "attach \"x\" { services = {\"a\", \"c\"} }\n"
                             "admin \"y\" { mode = 0666 level = admin }\n",
                             &warnings);
    assert_int_equal(warnings.count, 4);
    assert_non_null(strstr(warnings.items[0], "test.conf:2: service \"a\" has neither users nor groups"));
    assert_non_null(
        strstr(warnings.items[1], "test.conf:3: users: \"65534\" is uid 65534, the kernel's overflow uid"));
    assert_non_null(strstr(warnings.items[2], "test.conf:5: admin \"y\": every user"));
    assert_non_null(strstr(warnings.items[3], "test.conf:4: attach \"x\" lists service \"c\""));
    config_texts_free(&warnings);
    config_free(c);
}

static void write_file(const char *path, const char *text, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static void test_files(void **state)
{
    (void)state;
    char directory[] = "/tmp/xylem-config-XXXXXX", file[64], key[64], text[512];
    struct config *c = NULL;
    struct error error;
    assert_non_null(mkdtemp(directory));
    snprintf(file, sizeof file, "%s/xylemd.conf", directory);
    snprintf(key, sizeof key, "%s/root.key", directory);
    snprintf(text, sizeof text,
             "key_credential = root.key\nconnect { ca_config { private_key_file = \"%s\" } }\n", key);
    write_file(file, text, 0644);
    write_file(key, "\n-----BEGIN PRIVATE KEY-----\nsecret\n", 0644);
    setenv("CREDENTIALS_DIRECTORY", directory, 1);
    assert_int_equal(config_load(file, &c, NULL, &error), ERROR_INVALID);
    assert_non_null(strstr(error.text, "xylemd.conf:2: private_key_file"));
    assert_non_null(strstr(error.text, "everybody may read; chmod o="));
    assert_int_equal(chmod(key, 0600), 0);
    assert_int_equal(config_load(file, &c, NULL, &error), 0);
    assert_string_equal(c->ca.private_key, "\n-----BEGIN PRIVATE KEY-----\nsecret\n");
    assert_string_equal(c->key_file, key);
    config_free(c);
    assert_int_equal(unlink(key), 0);
    assert_int_equal(config_load(file, &c, NULL, &error), ERROR_INVALID);
    assert_non_null(strstr(error.text, "xylemd.conf:1: key_credential: there is no credential \"root.key\""));
    unsetenv("CREDENTIALS_DIRECTORY");
    assert_int_equal(truncate(file, CONFIG_FILE_BYTES_MAX + 1), 0);
    assert_int_equal(config_load(file, &c, NULL, &error), ERROR_LIMIT);
    assert_int_equal(unlink(file), 0);
    assert_int_equal(config_load(file, &c, NULL, &error), ERROR_SYSTEM);
    assert_non_null(strstr(error.text, "xylemd.conf:1: cannot be opened"));
    assert_int_equal(config_load(directory, &c, NULL, &error), ERROR_INVALID);
    assert_non_null(strstr(error.text, "not a regular file"));
    assert_int_equal(rmdir(directory), 0);
}

static void test_access(void **state)
{
    (void)state;
    struct config *c = parse("service \"a\" { users = {1001, 65534} groups = {50, 65534} }\n", NULL);
    const struct config_access *access = &c->services[0].access;
    const gid_t in[] = {1, 50}, out[] = {1, 51}, overflow[] = {65534};
    assert_true(config_access_allows(access, 1001, NULL, 0));
    assert_false(config_access_allows(access, 1002, NULL, 0));
    assert_true(config_access_allows(access, 1002, in, 2));
    assert_false(config_access_allows(access, 1002, out, 2));
    assert_false(config_access_allows(access, 65534, in, 2));
    assert_false(config_access_allows(access, 1002, overflow, 1));
    config_free(c);
}

static void test_reload(void **state)
{
    (void)state;
    const char *keys[CONFIG_RESTART_KEYS_MAX];
    struct config *a = parse("", NULL), *b = parse("log { level = debug } default_policy = allow", NULL);
    assert_int_equal(config_changed_keys_needing_restart(a, b, keys), 0);
    config_free(b);
    b = parse("datacenter = dc2 key_file = /k", NULL);
    assert_int_equal(config_changed_keys_needing_restart(a, b, keys), 2);
    assert_string_equal(keys[0], "key_file");
    assert_string_equal(keys[1], "datacenter");
    config_free(b);
    b = parse("state_directory = /s run_directory = /r datacenter = dc2 key_file = /k", NULL);
    assert_int_equal(config_changed_keys_needing_restart(a, b, keys), 4);
    config_free(a);
    config_free(b);
}

static void test_dev(void **state)
{
    (void)state;
    struct config *c = NULL;
    struct error error;
    assert_int_equal(config_default_dev("run", &c, &error), ERROR_INVALID);
    assert_int_equal(config_default_dev("/tmp/dev", &c, &error), 0);
    assert_string_equal(c->state_directory, "/tmp/dev/state");
    assert_string_equal(c->run_directory, "/tmp/dev");
    assert_string_equal(c->attaches[0].socket.path, "/tmp/dev/attach.sock");
    assert_string_equal(c->admins[0].socket.path, "/tmp/dev/admin.sock");
    config_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults), cmocka_unit_test(test_full),     cmocka_unit_test(test_consul_block),
        cmocka_unit_test(test_refusals), cmocka_unit_test(test_warnings), cmocka_unit_test(test_files),
        cmocka_unit_test(test_access),   cmocka_unit_test(test_reload),   cmocka_unit_test(test_dev),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
