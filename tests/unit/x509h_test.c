/* SPDX-License-Identifier: MIT */
/*
 * Certificates made by openssl are read as python's cryptography reads them; malformed ones, assembled here
 * from text, are refused each with its own code; truncated and bit-flipped ones neither crash nor reach past
 * their end.
 */
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <setjmp.h>
#include <string.h>
#include <cmocka.h>

#include <xylem/x509.h>

#define NAME_SVC "spiffe://11111111-2222-3333-4444-555555555555.consul/ns/default/dc/dc1/svc/web"

/* A leaf as Consul issues it: P-256, URI, DNS and IP names, a serial number of 20 bytes with the top bit set.
 */
static const char leaf_p256[] =
    "30820221308201c7a003020102021500f1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3e4300a06082a8648ce3d0403023015"
    "3113301106035504030c0a526f6f742063615f65633020170d3236313132313138353435345a180f32313236313032383138"
    "353435345a300e310c300a06035504030c037765623059301306072a8648ce3d020106082a8648ce3d030107034200042047"
    "1387f3f89934bdafab8f2d32cfc7712ee2c5e8cd745b0fb702aab71fc0191a97c58b0e89174fd3a8c1cdc6f26ec8520eadca"
    "e5d04d672e39e882fcd1534fa381f83081f5300c0603551d130101ff04023000300e0603551d0f0101ff0404030205a0301d"
    "0603551d250416301406082b0601050507030106082b06010505070302301d0603551d0e04160414b7748f7e3b86d55069a9"
    "04933faf12838a7cc1ce301f0603551d230418301680145492f1eb5b34093fa6df5b69baf617c6088ca9c330760603551d11"
    "0101ff046c306a864e7370696666653a2f2f31313131313131312d323232322d333333332d343434342d3535353535353535"
    "353535352e636f6e73756c2f6e732f64656661756c742f64632f6463312f7376632f77656282127765622e73657276696365"
    "2e636f6e73756c87047f000001300a06082a8648ce3d040302034800304502210092a59e97822302d1b8bbaada841049ab60"
    "2da2c991478010d4ce7ea72768bd6a022019a82d7abb8615256a34a8740c22a6951f4dd5c764bea738a295fda61967d46f";
static const char leaf_rsa[] =
    "3082037d30820265a003020102020107300d06092a864886f70d01010b050030163114301206035504030c0b526f6f742063"
    "615f7273613020170d3236313132313138353435355a180f32313236313032383138353435355a300e310c300a0603550403"
    "0c0377656230820122300d06092a864886f70d01010105000382010f003082010a0282010100b4d9c496e09046a1a4625d3b"
    "a92b7c44fc8128eb9658f357a0e1e42a93d6798f43c6fe6374eb68a7b93c816b27f5de6fb94520e5fedcbee60eea6f0024a6"
    "e2e42afa154e52505e382dd8905f2e295398c7fb52dab46e8613c404b411be7d8692418bd010390e4c0917a59848f1728c52"
    "c816fdcb086f8fb322e6e0d2eb9b9bd5afb446d815dcee4f0508f80585f0d25290a935f995b8f822ed3c1c9b2a7bd0de7477"
    "d74240aabcd89e106805347ae1b6a480ce19e369df84abb97e877b0b459657e8b96e2fe20679b29ae03ac03c4df4fe157c21"
    "dadf8623b1d911bfad6c6ede642a2ab3e5f313ee7ad2e4246b968d4922d82ce7e156dd52e7d5c35e0d7340e70203010001a3"
    "81db3081d8300c0603551d130101ff04023000300e0603551d0f0101ff0404030205a0301d0603551d250416301406082b06"
    "01050507030106082b06010505070302301d0603551d0e0416041482cf48b6cf7e0858dd17ac1a39ed8053566cc416301f06"
    "03551d230418301680147f3041dd6f39153fdb48a209bacfb7725079f46930590603551d1104523050864e7370696666653a"
    "2f2f31313131313131312d323232322d333333332d343434342d3535353535353535353535352e636f6e73756c2f6e732f64"
    "656661756c742f64632f6463312f7376632f776562300d06092a864886f70d01010b0500038201010071b71a0377f3d7de38"
    "f3215e437f83673af62bcb173a34f4ea5b2f62e7a70ae9a82d19f6864457318f954679840295a0de1ecd119d97f1068c5639"
    "c914634e80ed97538362c6525c7ecedaf364ed7c17bb26eda4bcf42c8ce54853f34fbc94c1a942c8a2e3e868d8975c428e3c"
    "dbfb75de26ec271cb908c8e05b078f6f287a998774745b6f3f5855a2c4836f0ea8713b4d89cfabdba2b7a86014494d5e3a61"
    "fb0a9d6ef786bca8afbe6fb5a7c9850a5a0077426ce2f6da73db9ec092e9b8f1272b7e5bcdcab91561675500c58de217a076"
    "917d144fc51225ba7ce527e4759a40482aa19a2d998029c5b7c84b29bf3da38b736ea0dc25a7e9ccfe4db2a8c039c7";
static const char leaf_ed25519[] =
    "308201c230820174a003020102021349cdbbf121496138df6ebe857b308018ae9242300506032b6570301531133011060355"
    "04030c0a526f6f742063615f65643020170d3236313132313138353435355a180f32313236313032383138353435355a300e"
    "310c300a06035504030c03776562302a300506032b657003210093eb28f36b2a766b60d01162c510479d04a029be903eeece"
    "b9bfe99a60e966f3a381db3081d8300c0603551d130101ff04023000300e0603551d0f0101ff0404030205a0301d0603551d"
    "250416301406082b0601050507030106082b06010505070302301d0603551d0e04160414aee1d819ebb017c629c0a850dec9"
    "9ed42c797205301f0603551d23041830168014561978fbde55ae1b66a3822afea2d884efe5d41a30590603551d1104523050"
    "864e7370696666653a2f2f31313131313131312d323232322d333333332d343434342d3535353535353535353535352e636f"
    "6e73756c2f6e732f64656661756c742f64632f6463312f7376632f776562300506032b65700341000ee23c833176d379f5f3"
    "052109e918f65f771b15407b97f187b66d631500772c60b7a6a368dc30d74f65a026a25460d74046cab5853e754fbd3a8ddc"
    "a0855208";
/* Seven kinds of names, and an authority key identifier with issuer and serial number. */
static const char leaf_mixed_names[] =
    "30820214308201baa0030201020214008183921d8f1fd09e6957672fb467b958bd6182300a06082a8648ce3d040302301531"
    "13301106035504030c0a526f6f742063615f65633020170d3236313132313138353435355a180f3231323631303238313835"
    "3435355a300e310c300a06035504030c03776562302a300506032b6570032100c1c4f9ad4d3925da8f90ae2b1ef982c54f48"
    "e1fddef189f2c5e38df5619ae1b2a382011a3082011630500603551d230449304780145492f1eb5b34093fa6df5b69baf617"
    "c6088ca9c3a119a41730153113301106035504030c0a526f6f742063615f656382147c56bfc38fa99e44d0c2ec0f33f0d1f5"
    "9843c7523081a20603551d1104819a308197810d61406578616d706c652e6f72678201618710000000000000000000000000"
    "0000000188032a0304a00a06032a0304a0030c0178a410300e310c300a06035504030c03776562864e7370696666653a2f2f"
    "31313131313131312d323232322d333333332d343434342d3535353535353535353535352e636f6e73756c2f6e732f646566"
    "61756c742f64632f6463312f7376632f776562301d0603551d0e04160414732de8cb3f97225e20fa7deb21d732925fb81fef"
    "300a06082a8648ce3d040302034800304502203e105f9097b759fa44d59857c75fb08687a7d5769a9440e629658b7e1d0955"
    "d202210081ef958ea27c1d581dc6a85dc312975f85e4dd59f6b1f3769329c94d3f557afc";
static const char leaf_without_key_id[] =
    "3082017230820119a00302010202130ee20f6e81cd89f8b87b8b37711dd9efce8169300a06082a8648ce3d04030230153113"
    "301106035504030c0a526f6f742063615f65633020170d3236313132313138353435355a180f323132363130323831383534"
    "35355a300e310c300a06035504030c03776562302a300506032b65700321005034bbda4a18cb863c281eb4796398ca072a23"
    "f654e7fe5eb856273271c71bd0a37c307a30590603551d1104523050864e7370696666653a2f2f31313131313131312d3232"
    "32322d333333332d343434342d3535353535353535353535352e636f6e73756c2f6e732f64656661756c742f64632f646331"
    "2f7376632f776562301d0603551d0e0416041455d5459d9bbe17ad9d1751ff826414c4d1e58d04300a06082a8648ce3d0403"
    "02034700304402203a262f62bba47764b93e44a339062869b4150d2ad3903f688509e167726378b202200f6ecb1d9141c9e4"
    "46e7296856a779ae51cc68d52e308b21552f765701e4e100";
static const char root_p256[] =
    "308201b43082015aa00302010202147c56bfc38fa99e44d0c2ec0f33f0d1f59843c752300a06082a8648ce3d040302301531"
    "13301106035504030c0a526f6f742063615f65633020170d3236313132313138353435345a180f3231323631303238313835"
    "3435345a30153113301106035504030c0a526f6f742063615f65633059301306072a8648ce3d020106082a8648ce3d030107"
    "0342000440f643ea9d103d20176ee02bc86bbbec6855f2df7efab5c47e3ece1e9a4fad8097807aab138e294a0dc7978afe8e"
    "13c415815e28192938af4a2bf3a38752cfb4a38185308182301d0603551d0e041604145492f1eb5b34093fa6df5b69baf617"
    "c6088ca9c3301f0603551d230418301680145492f1eb5b34093fa6df5b69baf617c6088ca9c3300f0603551d130101ff0405"
    "30030101ff300e0603551d0f0101ff040403020106301f0603551d110418301686147370696666653a2f2f6578616d706c65"
    "2e6f7267300a06082a8648ce3d04030203480030450220642c0b094b63179c35df2de58084a6059ea3622887259d3ccb4a1e"
    "c6353eba63022100d88d8658e4f74436ff034cc445b8e55a82f48c4e53fd3a40a209e16d17728fef";

static const struct real {
    const char *title, *der, *uri, *serial, *issuer_key_id;
} real[] = {
    {"P-256", leaf_p256, NAME_SVC, "f1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3e4",
     "5492f1eb5b34093fa6df5b69baf617c6088ca9c3"},
    {"RSA", leaf_rsa, NAME_SVC, "07", "7f3041dd6f39153fdb48a209bacfb7725079f469"},
    {"Ed25519", leaf_ed25519, NAME_SVC, "49cdbbf121496138df6ebe857b308018ae9242",
     "561978fbde55ae1b66a3822afea2d884efe5d41a"},
    {"mixed names", leaf_mixed_names, NAME_SVC, "8183921d8f1fd09e6957672fb467b958bd6182",
     "5492f1eb5b34093fa6df5b69baf617c6088ca9c3"},
    {"no key id", leaf_without_key_id, NAME_SVC, "0ee20f6e81cd89f8b87b8b37711dd9efce8169", ""},
};

/* Assembles DER from text: pairs of hex digits are bytes, '...' stands for its characters, #n. for n zero
 * bytes, and
 * (...) for its contents behind their minimal length. Blanks do not count. Returns the number of bytes. */
static size_t assemble(const char **text, uint8_t *out)
{
    size_t size = 0;
    while (**text != '\0' && **text != ')') {
        char c = *(*text)++;
        if (c == '(') {
            size_t inner = assemble(text, out + size + 4);
            size_t octets = inner < 0x80 ? 0 : inner < 0x100 ? 1 : inner < 0x10000 ? 2 : 3;
            memmove(out + size + 1 + octets, out + size + 4, inner);
            out[size++] = (uint8_t)(octets == 0 ? inner : 0x80 | octets);
            for (size_t i = octets; i > 0; i--)
                out[size++] = (uint8_t)(inner >> (8 * (i - 1)));
            size += inner;
            assert_int_equal(*(*text)++, ')');
        } else if (c == '\'') {
            for (; **text != '\''; (*text)++)
                out[size++] = (uint8_t) * *text;
            (*text)++;
        } else if (c == '#') {
            char *end;
            size_t zeros = strtoul(*text, &end, 10);
            memset(out + size, 0, zeros);
            size += zeros;
            *text = end + 1;
        } else if (c != ' ') {
            char pair[3] = {c, *(*text)++, '\0'};
            out[size++] = (uint8_t)strtoul(pair, NULL, 16);
        }
    }
    return size;
}

/* A certificate in a heap block of exactly its size, so that AddressSanitizer sees a read past the end. */
static struct xylem_slice make(const char *text)
{
    uint8_t *scratch = malloc(70000);
    assert_non_null(scratch);
    size_t size = assemble(&text, scratch);
    assert_int_equal(*text, '\0');
    uint8_t *exact = malloc(size ? size : 1);
    assert_non_null(exact);
    memcpy(exact, scratch, size);
    free(scratch);
    return (struct xylem_slice){exact, size};
}

static void destroy(struct xylem_slice certificate)
{
    free((void *)(uintptr_t)certificate.data);
}

static bool inside(struct xylem_slice whole, struct xylem_slice part)
{
    uintptr_t start = (uintptr_t)whole.data, at = (uintptr_t)part.data;
    return at >= start && at - start <= whole.size && part.size <= whole.size - (at - start);
}

/* Reads a certificate and checks what every answer, good or bad, has to keep. */
static int read_peer(struct xylem_slice certificate, struct xylem_peer *peer)
{
    struct xylem_peer before;
    memset(&before, 0xa5, sizeof(before));
    *peer = before;
    int rc = xylem_x509_peer(certificate.data, certificate.size, peer);
    if (rc != XYLEM_X509_OK) {
        assert_in_range(-rc, 1, 16);
        assert_memory_equal(peer, &before, sizeof(before));
        return rc;
    }
    assert_true(inside(certificate, peer->uri) && peer->uri.size >= 1);
    assert_true(inside(certificate, peer->serial) && peer->serial.size >= 1);
    assert_in_range(peer->serial.size, 1, XYLEM_X509_SERIAL_SIZE_MAX);
    assert_int_not_equal(peer->serial.data[0], 0);
    assert_true(peer->issuer_key_id.size == 0 || inside(certificate, peer->issuer_key_id));
    return rc;
}

static void assert_slice_is(struct xylem_slice slice, const char *text)
{
    struct xylem_slice expected = make(text);
    assert_int_equal(slice.size, expected.size);
    if (expected.size != 0)
        assert_memory_equal(slice.data, expected.data, expected.size);
    destroy(expected);
}

static void real_certificates_are_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(real) / sizeof(real[0]); i++) {
        struct xylem_slice certificate = make(real[i].der);
        struct xylem_peer peer;
        int rc = read_peer(certificate, &peer);
        if (rc != XYLEM_X509_OK)
            fail_msg("%s: %s", real[i].title, xylem_x509_strerror(rc));
        assert_int_equal(peer.uri.size, strlen(real[i].uri));
        assert_memory_equal(peer.uri.data, real[i].uri, peer.uri.size);
        assert_slice_is(peer.serial, real[i].serial);
        assert_slice_is(peer.issuer_key_id, real[i].issuer_key_id);
        destroy(certificate);
    }
}

/* The frame of a certificate; the fields that are stepped over are empty. */
#define CERTIFICATE(tbs)          "30(30(" tbs ")30()03(00))"
#define V3                        "a0(020102)"
#define SERIAL                    "020101"
#define SKIPPED                   "30()30()30()30()30()"
#define EXTENSIONS(list)          "a3(30(" list "))"
#define TBS(list)                 "30(" V3 SERIAL SKIPPED EXTENSIONS(SAN(URI) list) ")"
#define LEAF(list)                CERTIFICATE(V3 SERIAL SKIPPED EXTENSIONS(list))
#define WITH_SERIAL(serial)       CERTIFICATE(V3 serial SKIPPED EXTENSIONS(SAN(URI)))
#define EXTENSION(arc, value)     "30(0603551d" arc "04(" value "))"
#define KEY_USAGE(bits)           EXTENSION("0f", bits)
#define SAN(names)                EXTENSION("11", "30(" names ")")
#define BASIC_CONSTRAINTS(fields) EXTENSION("13", "30(" fields ")")
#define AUTHORITY_KEY_ID(fields)  EXTENSION("23", "30(" fields ")")
#define URI                       "86('spiffe://a/b')"
#define NINETEEN                  "11223344556677889900112233445566778899"
#define LEAF_OF_64_KIB(zeros)     LEAF("30(06(2a03)04(#" zeros ".))" SAN(URI))

static const struct accepted {
    const char *title, *text, *serial, *issuer_key_id;
} accepted[] = {
    {"nothing but a URI", LEAF(SAN(URI)), "01", ""},
    {"critical extension", LEAF("30(0603551d11 0101ff 04(30(" URI ")))"), "01", ""},
    {"URI amid every other kind of name",
     LEAF(SAN("a0()"
              "81()"
              "82('a')"
              "a3()" URI "a4()"
              "a5()"
              "87(7f000001)"
              "8800")),
     "01", ""},
    {"unique identifiers", CERTIFICATE(V3 SERIAL SKIPPED "81(00)82(00)" EXTENSIONS(SAN(URI))), "01", ""},
    {"foreign extensions", LEAF("30(06(2a03)04())" SAN(URI) "30(0603551d4004())" EXTENSION("25", "30()")),
     "01", ""},
    {"serial number of 20 bytes", WITH_SERIAL("02(7f" NINETEEN ")"), "7f" NINETEEN, ""},
    {"serial number of 20 bytes and a sign", WITH_SERIAL("02(00ff" NINETEEN ")"), "ff" NINETEEN, ""},
    {"serial number 128", WITH_SERIAL("02020080"), "80", ""},
    {"key identifier", LEAF(AUTHORITY_KEY_ID("80(abcd)") SAN(URI)), "01", "abcd"},
    {"key identifier, issuer, serial", LEAF(SAN(URI) AUTHORITY_KEY_ID("80(abcd)a1()8201ff")), "01", "abcd"},
    {"issuer and serial only", LEAF(SAN(URI) AUTHORITY_KEY_ID("a1()820101")), "01", ""},
    {"nothing to identify the issuer", LEAF(SAN(URI) AUTHORITY_KEY_ID("")), "01", ""},
    {"not a CA", LEAF(BASIC_CONSTRAINTS("") SAN(URI)), "01", ""},
    {"not a CA, with a path length", LEAF(BASIC_CONSTRAINTS("020100") SAN(URI)), "01", ""},
    {"digitalSignature", LEAF(KEY_USAGE("03020780") SAN(URI)), "01", ""},
    {"every use but signing", LEAF(KEY_USAGE("030307f980") SAN(URI)), "01", ""},
    {"lengths of one and two octets",
     LEAF("30(06(2a03)04(#200.))"
          "30(06(2a03)04(#300.))" SAN(URI)),
     "01", ""},
};

static void what_is_well_formed_is_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(accepted) / sizeof(accepted[0]); i++) {
        struct xylem_slice certificate = make(accepted[i].text);
        struct xylem_peer peer;
        int rc = read_peer(certificate, &peer);
        if (rc != XYLEM_X509_OK)
            fail_msg("%s: %s", accepted[i].title, xylem_x509_strerror(rc));
        assert_slice_is(peer.uri, "'spiffe://a/b'");
        assert_slice_is(peer.serial, accepted[i].serial);
        assert_slice_is(peer.issuer_key_id, accepted[i].issuer_key_id);
        destroy(certificate);
    }
}

static const struct refused {
    int code;
    const char *title, *text;
} refused[] = {
    {XYLEM_X509_TRUNCATED, "nothing", ""},
    {XYLEM_X509_TRUNCATED, "a tag without a length", "30"},
    {XYLEM_X509_TRUNCATED, "half a length", "308201"},
    {XYLEM_X509_TRUNCATED, "empty certificate", "3000"},
    {XYLEM_X509_TRUNCATED, "no signature", "30(30(" V3 SERIAL SKIPPED EXTENSIONS(SAN(URI)) ")30())"},
    {XYLEM_X509_TRUNCATED, "name longer than the names", LEAF(EXTENSION("11", "30(8602)"))},
    {XYLEM_X509_TRUNCATED, "name that ends behind the names",
     LEAF(EXTENSION("11", "30(860261)") BASIC_CONSTRAINTS(""))},
    {XYLEM_X509_TRUNCATED, "largest length of two octets", "3082ffff00"},
    {XYLEM_X509_TRUNCATED, "serial number and nothing more", CERTIFICATE(V3 SERIAL)},
    {XYLEM_X509_TRUNCATED, "extension without a value", LEAF("30(0603551d11)")},
    {XYLEM_X509_TRUNCATED, "extension without anything", LEAF("30()")},
    {XYLEM_X509_TRUNCATED, "alternative names without a SEQUENCE", LEAF(EXTENSION("11", ""))},
    {XYLEM_X509_TRUNCATED, "empty TBSCertificate before an INTEGER", "30(30()" SERIAL ")"},
    {XYLEM_X509_LENGTH, "indefinite",
     "3080"
     "30(" V3 ")0000"},
    {XYLEM_X509_LENGTH, "one octet for 127",
     "30817f"
     "#127."},
    {XYLEM_X509_LENGTH, "two octets for 255",
     "308200ff"
     "#255."},
    {XYLEM_X509_LENGTH, "three octets",
     "3083000100"
     "#256."},
    {XYLEM_X509_LENGTH, "four octets, all bits set",
     "3084ffffffff"
     "#16."},
    {XYLEM_X509_LENGTH, "eight octets, all bits set",
     "3088ffffffffffffffff"
     "#16."},
    {XYLEM_X509_LENGTH, "the reserved form",
     "30ff"
     "#200."},
    {XYLEM_X509_LENGTH, "indefinite name",
     LEAF(SAN("8680"
              "0000"))},
    {XYLEM_X509_LENGTH, "key usage without bits", LEAF(KEY_USAGE("030100") SAN(URI))},
    {XYLEM_X509_LENGTH, "key usage of three octets of bits", LEAF(KEY_USAGE("030400800000") SAN(URI))},
    {XYLEM_X509_TAG, "SET for SEQUENCE", "31(30())"},
    {XYLEM_X509_TAG, "high tag number", "3f10(30())"},
    {XYLEM_X509_TAG, "high tag number among the names", LEAF(SAN("9f0600" URI))},
    {XYLEM_X509_TAG, "INTEGER for TBSCertificate", "30(020100)"},
    {XYLEM_X509_TAG, "OCTET STRING for the signature",
     "30(30(" V3 SERIAL SKIPPED EXTENSIONS(SAN(URI)) ")30()04())"},
    {XYLEM_X509_TAG, "version in a primitive", CERTIFICATE("80(020102)" SERIAL SKIPPED EXTENSIONS(SAN(URI)))},
    {XYLEM_X509_TAG, "version not an INTEGER", CERTIFICATE("a0(0a0102)" SERIAL SKIPPED EXTENSIONS(SAN(URI)))},
    {XYLEM_X509_TAG, "serial number not an INTEGER", WITH_SERIAL("0a0101")},
    {XYLEM_X509_TAG, "six SEQUENCEs", CERTIFICATE(V3 SERIAL SKIPPED "30()" EXTENSIONS(SAN(URI)))},
    {XYLEM_X509_TAG, "unique identifiers in the wrong order",
     CERTIFICATE(V3 SERIAL SKIPPED "82(00)81(00)" EXTENSIONS(SAN(URI)))},
    {XYLEM_X509_TAG, "extensions in a SET", CERTIFICATE(V3 SERIAL SKIPPED "a3(31(" SAN(URI) "))")},
    {XYLEM_X509_TAG, "extension in a SET", LEAF("31(0603551d1104(30(" URI ")))")},
    {XYLEM_X509_TAG, "extension without an identifier", LEAF("30(04(30(" URI ")))")},
    {XYLEM_X509_TAG, "extension with an INTEGER for critical", LEAF("30(0603551d110201ff04(30(" URI ")))")},
    {XYLEM_X509_TAG, "constructed OCTET STRING", LEAF("30(0603551d1124(04(30(" URI "))))")},
    {XYLEM_X509_TAG, "constructed URI", LEAF(SAN(URI "a6(" URI ")"))},
    {XYLEM_X509_TAG, "URI of the application class", LEAF(SAN(URI "4600"))},
    {XYLEM_X509_TAG, "name without a number", LEAF(SAN(URI "8900"))},
    {XYLEM_X509_TAG, "names in a SET", LEAF(EXTENSION("11", "31(" URI ")"))},
    {XYLEM_X509_TAG, "key identifier after the issuer", LEAF(SAN(URI) AUTHORITY_KEY_ID("a1()80(abcd)"))},
    {XYLEM_X509_TAG, "two key identifiers", LEAF(SAN(URI) AUTHORITY_KEY_ID("80(abcd)80(abcd)"))},
    {XYLEM_X509_TAG, "path length not an INTEGER", LEAF(SAN(URI) BASIC_CONSTRAINTS("0400"))},
    {XYLEM_X509_TAG, "path length before CA", LEAF(SAN(URI) BASIC_CONSTRAINTS("0201000101ff"))},
    {XYLEM_X509_TAG, "key usage not a BIT STRING", LEAF(SAN(URI) KEY_USAGE("04020780"))},
    {XYLEM_X509_TAG, "INTEGER behind empty basic constraints", "30(" TBS(BASIC_CONSTRAINTS("")) "0200)"},
    {XYLEM_X509_TAG, "BOOLEAN behind empty basic constraints", "30(" TBS(BASIC_CONSTRAINTS("")) "0100)"},
    {XYLEM_X509_TAG, "[0] behind an empty authority key identifier", "30(" TBS(AUTHORITY_KEY_ID("")) "8000)"},
    {XYLEM_X509_TRAILING, "behind the certificate", LEAF(SAN(URI)) "00"},
    {XYLEM_X509_TRAILING, "behind the signature",
     "30(30(" V3 SERIAL SKIPPED EXTENSIONS(SAN(URI)) ")30()03(00)0500)"},
    {XYLEM_X509_TRAILING, "behind the version",
     CERTIFICATE("a0(020102 00)" SERIAL SKIPPED EXTENSIONS(SAN(URI)))},
    {XYLEM_X509_TRAILING, "behind the extensions",
     CERTIFICATE(V3 SERIAL SKIPPED EXTENSIONS(SAN(URI)) EXTENSIONS(SAN(URI)))},
    {XYLEM_X509_TRAILING, "behind the list of extensions",
     CERTIFICATE(V3 SERIAL SKIPPED "a3(30(" SAN(URI) ")30())")},
    {XYLEM_X509_TRAILING, "behind the value of an extension", LEAF("30(0603551d1104(30(" URI "))0500)")},
    {XYLEM_X509_TRAILING, "behind the names", LEAF(EXTENSION("11", "30(" URI ")30(" URI ")"))},
    {XYLEM_X509_TRAILING, "behind the key identifiers", LEAF(SAN(URI) EXTENSION("23", "30()00"))},
    {XYLEM_X509_TRAILING, "behind the basic constraints", LEAF(SAN(URI) EXTENSION("13", "30()30(0101ff)"))},
    {XYLEM_X509_TRAILING, "behind the key usage", LEAF(SAN(URI) KEY_USAGE("0302078003020204"))},
    {XYLEM_X509_TOO_LARGE, "64 KiB and a byte", LEAF_OF_64_KIB("65461")},
    {XYLEM_X509_VERSION, "version 1", CERTIFICATE(SERIAL SKIPPED)},
    {XYLEM_X509_VERSION, "version 2", CERTIFICATE("a0(020101)" SERIAL SKIPPED EXTENSIONS(SAN(URI)))},
    {XYLEM_X509_VERSION, "version 4", CERTIFICATE("a0(020103)" SERIAL SKIPPED EXTENSIONS(SAN(URI)))},
    {XYLEM_X509_VERSION, "version 3 in two bytes",
     CERTIFICATE("a0(02020002)" SERIAL SKIPPED EXTENSIONS(SAN(URI)))},
    {XYLEM_X509_VERSION, "version without a value",
     CERTIFICATE("a0(0200)" SERIAL SKIPPED EXTENSIONS(SAN(URI)))},
    {XYLEM_X509_SERIAL, "empty", WITH_SERIAL("0200")},
    {XYLEM_X509_SERIAL, "zero", WITH_SERIAL("020100")},
    {XYLEM_X509_SERIAL, "zero before a byte that could be its second",
     CERTIFICATE(V3 "020100"
                    "8100")},
    {XYLEM_X509_SERIAL, "negative", WITH_SERIAL("0201ff")},
    {XYLEM_X509_SERIAL, "padded", WITH_SERIAL("0202007f")},
    {XYLEM_X509_SERIAL_LONG, "21 bytes", WITH_SERIAL("02(7f7f" NINETEEN ")")},
    {XYLEM_X509_SERIAL_LONG, "21 bytes and a sign", WITH_SERIAL("02(00ffff" NINETEEN ")")},
    {XYLEM_X509_BOOLEAN, "critical FALSE", LEAF("30(0603551d1101010004(30(" URI ")))")},
    {XYLEM_X509_BOOLEAN, "critical in BER", LEAF("30(0603551d1101010104(30(" URI ")))")},
    {XYLEM_X509_BOOLEAN, "critical without a value", LEAF("30(0603551d11010004(30(" URI ")))")},
    {XYLEM_X509_BOOLEAN, "critical of two bytes", LEAF("30(0603551d110102ffff04(30(" URI ")))")},
    {XYLEM_X509_BOOLEAN, "CA in BER", LEAF(SAN(URI) BASIC_CONSTRAINTS("010101"))},
    {XYLEM_X509_DUPLICATE, "alternative names", LEAF(SAN("82('a')") SAN(URI))},
    {XYLEM_X509_DUPLICATE, "authority key identifier",
     LEAF(AUTHORITY_KEY_ID("80(aa)") SAN(URI) AUTHORITY_KEY_ID("80(bb)"))},
    {XYLEM_X509_DUPLICATE, "basic constraints", LEAF(BASIC_CONSTRAINTS("") BASIC_CONSTRAINTS("") SAN(URI))},
    {XYLEM_X509_DUPLICATE, "key usage", LEAF(KEY_USAGE("03020780") KEY_USAGE("03020780") SAN(URI))},
    {XYLEM_X509_NO_URI, "no extensions", CERTIFICATE(V3 SERIAL SKIPPED)},
    {XYLEM_X509_NO_URI, "empty extensions", LEAF("")},
    {XYLEM_X509_NO_URI, "no alternative names", LEAF(BASIC_CONSTRAINTS(""))},
    {XYLEM_X509_NO_URI, "empty alternative names", LEAF(SAN(""))},
    {XYLEM_X509_NO_URI, "other names only", LEAF(SAN("82('spiffe://a/b')"))},
    {XYLEM_X509_NO_URI, "issuerAltName only", LEAF(EXTENSION("12", "30(" URI ")"))},
    {XYLEM_X509_NO_URI, "another arc that ends alike", LEAF("30(0603551e1104(30(" URI ")))")},
    {XYLEM_X509_NO_URI, "another first arc", LEAF("30(06032b1d1104(30(" URI ")))")},
    {XYLEM_X509_NO_URI, "a longer identifier that begins alike", LEAF("30(0604551d110104(30(" URI ")))")},
    {XYLEM_X509_MANY_URIS, "the same twice", LEAF(SAN(URI URI))},
    {XYLEM_X509_MANY_URIS, "one that is no SPIFFE ID", LEAF(SAN(URI "82('a')86('http:x')"))},
    {XYLEM_X509_MANY_URIS, "an empty one", LEAF(SAN(URI "8600"))},
    {XYLEM_X509_EMPTY_URI, "alone", LEAF(SAN("8600"))},
    {XYLEM_X509_EMPTY_URI, "before another", LEAF(SAN("8600" URI))},
    {XYLEM_X509_URI_BYTES, "NUL", LEAF(SAN("86('spiffe://a/b'00'c')"))},
    {XYLEM_X509_URI_BYTES, "NUL at the end", LEAF(SAN("86('spiffe://a/b'00)"))},
    {XYLEM_X509_URI_BYTES, "control", LEAF(SAN("86(1f'spiffe://a/b')"))},
    {XYLEM_X509_URI_BYTES, "space", LEAF(SAN("86('spiffe://a/b c')"))},
    {XYLEM_X509_URI_BYTES, "DEL", LEAF(SAN("86('spiffe://a/b'7f)"))},
    {XYLEM_X509_URI_BYTES, "UTF-8", LEAF(SAN("86('spiffe://a/b'c3a4)"))},
    {XYLEM_X509_CA, "behind the URI", LEAF(SAN(URI) BASIC_CONSTRAINTS("0101ff"))},
    {XYLEM_X509_CA, "with a path length", LEAF(BASIC_CONSTRAINTS("0101ff020100") SAN(URI))},
    {XYLEM_X509_CA, "a root made by openssl", root_p256},
    {XYLEM_X509_SIGNER, "keyCertSign", LEAF(KEY_USAGE("03020284") SAN(URI))},
    {XYLEM_X509_SIGNER, "cRLSign", LEAF(SAN(URI) KEY_USAGE("03020182"))},
};

static void what_is_malformed_is_refused_with_its_code(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        struct xylem_slice certificate = make(refused[i].text);
        struct xylem_peer peer;
        int rc = read_peer(certificate, &peer);
        destroy(certificate);
        if (rc != refused[i].code)
            fail_msg("%s\n  %s\n  answered: %s", xylem_x509_strerror(refused[i].code), refused[i].title,
                     xylem_x509_strerror(rc));
    }
}

#define COUNT(name, code, text) +1
enum { ERRORS = 0 XYLEM_X509_ERRORS(COUNT) };

static void every_code_has_a_case(void **state)
{
    (void)state;
    bool covered[ERRORS + 1] = {false};
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
        covered[-refused[i].code] = true;
    for (int i = 1; i <= ERRORS; i++)
        if (!covered[i])
            fail_msg("no case for %s", xylem_x509_strerror(-i));
}

static void every_code_has_a_text_of_its_own(void **state)
{
    (void)state;
#define ENTRY(name, code, text) {XYLEM_X509_##name, #name ": "},
    static const struct {
        int code;
        const char *begins;
    } entries[] = {XYLEM_X509_ERRORS(ENTRY)};
    for (int i = 0; i < ERRORS; i++) {
        assert_int_equal(entries[i].code, -(i + 1));
        assert_int_equal(strncmp(xylem_x509_strerror(-(i + 1)), entries[i].begins, strlen(entries[i].begins)),
                         0);
    }
    for (int i = 0; i <= ERRORS + 1; i++)
        for (int j = 0; j < i; j++)
            assert_string_not_equal(xylem_x509_strerror(-i), xylem_x509_strerror(-j));
    assert_string_equal(xylem_x509_strerror(1), xylem_x509_strerror(-(ERRORS + 1)));
}

static void the_limit_is_64_kib(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int code;
    } cases[] = {{LEAF_OF_64_KIB("65460"), XYLEM_X509_OK}, {LEAF_OF_64_KIB("65461"), XYLEM_X509_TOO_LARGE}};
    for (size_t i = 0; i < 2; i++) {
        struct xylem_slice certificate = make(cases[i].text);
        struct xylem_peer peer;
        assert_int_equal(certificate.size, XYLEM_X509_SIZE_MAX + i);
        assert_int_equal(read_peer(certificate, &peer), cases[i].code);
        destroy(certificate);
    }
}

static void no_buffer_is_needed_for_a_refusal_by_size(void **state)
{
    (void)state;
    struct xylem_peer peer;
    assert_int_equal(xylem_x509_peer(NULL, 0, &peer), XYLEM_X509_TRUNCATED);
    assert_int_equal(xylem_x509_peer(NULL, SIZE_MAX, &peer), XYLEM_X509_TOO_LARGE);
}

static void every_prefix_is_truncated(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(real) / sizeof(real[0]); i++) {
        struct xylem_slice certificate = make(real[i].der);
        for (size_t size = 0; size < certificate.size; size++) {
            struct xylem_peer peer;
            uint8_t *prefix = malloc(size ? size : 1);
            assert_non_null(prefix);
            memcpy(prefix, certificate.data, size);
            assert_int_equal(read_peer((struct xylem_slice){prefix, size}, &peer), XYLEM_X509_TRUNCATED);
            free(prefix);
        }
        destroy(certificate);
    }
}

/* Every value of every byte: most are refused, some (inside a key, say) change nothing; read_peer() checks
 * what each answer has to keep, and the counts that both kinds of answer were met. */
static void every_changed_byte_is_survived(void **state)
{
    (void)state;
    size_t answers[2] = {0, 0};
    for (size_t i = 0; i < sizeof(real) / sizeof(real[0]); i++) {
        struct xylem_slice certificate = make(real[i].der);
        uint8_t *bytes = (uint8_t *)(uintptr_t)certificate.data;
        for (size_t at = 0; at < certificate.size; at++) {
            for (unsigned flip = 1; flip < 256; flip++) {
                struct xylem_peer peer;
                bytes[at] ^= (uint8_t)flip;
                answers[read_peer(certificate, &peer) == XYLEM_X509_OK]++;
                bytes[at] ^= (uint8_t)flip;
            }
        }
        destroy(certificate);
    }
    assert_true(answers[0] > 1000 && answers[1] > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(real_certificates_are_read),
        cmocka_unit_test(what_is_well_formed_is_read),
        cmocka_unit_test(what_is_malformed_is_refused_with_its_code),
        cmocka_unit_test(every_code_has_a_case),
        cmocka_unit_test(every_code_has_a_text_of_its_own),
        cmocka_unit_test(the_limit_is_64_kib),
        cmocka_unit_test(no_buffer_is_needed_for_a_refusal_by_size),
        cmocka_unit_test(every_prefix_is_truncated),
        cmocka_unit_test(every_changed_byte_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
