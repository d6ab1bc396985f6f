// SPDX-License-Identifier: Apache-2.0

import Issuance
import Testing

/// A certificate request made by OpenSSL 3.0 and what must become of it.
struct RequestVector: Sendable, CustomTestStringConvertible {
    enum Outcome: Equatable, Sendable {
        case accepted(SubjectPublicKey.Algorithm)
        case refused(CertificateRequestError)
    }

    let testDescription: String
    let outcome: Outcome
    /// Base64 of the DER, in lines.
    let base64: String

    static let all: [Self] = [
        Self(
            testDescription: "a P-256 key",
            outcome: .accepted(.p256),
            base64: """
                MIHJMHECAQAwDzENMAsGA1UEAwwEcDI1NjBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABFngtIgEBOKesyVf
                pyaSvCKeuy9tvaXGlgzqbqSg4cgpJECL+AaXXKd3zgez1jRy7qZWeagB9oFcIYtkUfrWwFmgADAKBggqhkjO
                PQQDAgNIADBFAiBlaLrZFK7KsARJA65xIEy54F02G1WI+3WThCVisys/3wIhAKNJg36rBAFnTbTILQX1iSmJ
                qSBLgHa5II1HFLAx+Bpc
                """
        ),
        Self(
            testDescription: "a P-256 key signed with SHA-384",
            outcome: .accepted(.p256),
            base64: """
                MIHLMHMCAQAwETEPMA0GA1UEAwwGc2hhMzg0MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEWeC0iAQE4p6z
                JV+nJpK8Ip67L229pcaWDOpupKDhyCkkQIv4Bpdcp3fOB7PWNHLuplZ5qAH2gVwhi2RR+tbAWaAAMAoGCCqG
                SM49BAMDA0gAMEUCIQD/fc9D/acrLIc9zi01tX8VwVW4uiU/6kXwY00a8o3XgwIgSF1RBd+lI+DfK85fkFUf
                GCD4mbMG5jzbZS2NxPWAOLw=
                """
        ),
        Self(
            testDescription: "a subject and extensions that claim another identity",
            outcome: .accepted(.p256),
            base64: """
                MIIBPDCB4wIBADAgMQ4wDAYDVQQKDAVPdGhlcjEOMAwGA1UEAwwFYWRtaW4wWTATBgcqhkjOPQIBBggqhkjO
                PQMBBwNCAARZ4LSIBATinrMlX6cmkrwinrsvbb2lxpYM6m6koOHIKSRAi/gGl1ynd84Hs9Y0cu6mVnmoAfaB
                XCGLZFH61sBZoGEwXwYJKoZIhvcNAQkOMVIwUDA9BgNVHREENjA0hiRzcGlmZmU6Ly9leGFtcGxlLm9yZy9z
                aWduZXQvc2VydmVyL2GCDGV2aWwuZXhhbXBsZTAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0gAMEUC
                IDY75F7rV+Q1Ifjhho2TOlmiJmaO3FOzXQgcc8W2rlxwAiEAh4p9lb9bpX4NjNp4u90afg0nq59iCWBCNcfn
                hkIdlX8=
                """
        ),
        Self(
            testDescription: "an empty subject",
            outcome: .accepted(.p256),
            base64: """
                MIG5MGICAQAwADBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABFngtIgEBOKesyVfpyaSvCKeuy9tvaXGlgzq
                bqSg4cgpJECL+AaXXKd3zgez1jRy7qZWeagB9oFcIYtkUfrWwFmgADAKBggqhkjOPQQDAgNHADBEAiAIFrk5
                wAqlCWPRCeUeU+8SCEdFJEzKZNyqyCbLLtRi6wIgHF0xFWFphG9inF6HaTswwAMsY1yRLruy/Wt68aRUebs=
                """
        ),
        Self(
            testDescription: "a P-384 key",
            outcome: .accepted(.p384),
            base64: """
                MIIBBzCBjgIBADAPMQ0wCwYDVQQDDARwMzg0MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAE8EWbIOV0FuF2DpL1
                tEO8i8nMGQUgEx4i8DLgBoP5D0PUyxJHgQ0yeoXpTWGNzlDsNiOzumsXVBJ51ChyKCmJTaPCh+CxmWbYv5WY
                luS7dwPV9zw0f9LL7TrZJap//YdIoAAwCgYIKoZIzj0EAwIDaAAwZQIxALNrStwGpu58nDU97tWNjpv/kdyN
                HoePQiCXdXPr/IGn6H7bkB2ooG8FDpxqfr6x6QIwZcMmHwoIVZo+ODoQYuhEuoy3aQhhzk2qRwXKGKRGglIR
                qYCPJ32IOcK/+r3XoCG3
                """
        ),
        Self(
            testDescription: "an RSA-2048 key",
            outcome: .accepted(.rsa(bits: 2048)),
            base64: """
                MIICVzCCAT8CAQAwEjEQMA4GA1UEAwwHcnNhMjA0ODCCASIwDQYJKoZIhvcNAQEBBQADggEPADCCAQoCggEB
                ALgQvPxJbrTMM/pVLzC9NWJW/OSJ1mzKknlRbPc9ZMxZ6NLeir/A5Chcm3YVMccMK+L9QnUqnanxG9X0RguK
                +i/l1o5/aEe7+zFNEsM21t7N1o+txN4PqI5ug6O9CvD5gOQDRtK2rFTBOfjdRVkvUaHirvNpVD83WGRHoJph
                mcaU3U+T0FwJA6B9CUEmE7OFvyqTnd91XdoG8Hhi4bs03/UjUGwJWUYKGc2XfumR3s8cdKjcbPstc4kwC4ey
                bzytrVsgZy277+NZ7bmQw38VM/KPFywiyRzt6AIUBdEFFMbaOl0TgN4e1Iil1sMycZFJMG4+X2vvqxSUEMlA
                6CXH6s0CAwEAAaAAMA0GCSqGSIb3DQEBCwUAA4IBAQBpPXpLGTW8LTt7kptWOniNumn3KSFP6LRYUNeYJLTq
                4r7dBggmrLX6mQ0uN/18L7E4PinBZaJ4Ckhuws1QSTz0vFcWOkJ6l2gsRh2W9WZsRE7MXFFCL5WsNJWwTCy3
                rU4afoUMsfAB+vgxqjT1YMj9dDPAFOp6hUDIaCWm6eNTbdl3zHbhjlVjUd5PhzTYnI7D3aQ6NvOxhGfqNW8d
                tZgMc2fITGeC2R6Gl7lhjjhVk7T5IOGClUp6g3WTt70SMPcOZLoXDiYtGHCXWcn+KY1DJeF8few4oOoPoDdc
                FNMglZc+oPVjTA/m+gmRcKnKyuWhImLeebNG6F1VKLjyCA7m
                """
        ),
        Self(
            testDescription: "an RSA-2048 key signed with SHA-512",
            outcome: .accepted(.rsa(bits: 2048)),
            base64: """
                MIICVjCCAT4CAQAwETEPMA0GA1UEAwwGc2hhNTEyMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA
                uBC8/ElutMwz+lUvML01Ylb85InWbMqSeVFs9z1kzFno0t6Kv8DkKFybdhUxxwwr4v1CdSqdqfEb1fRGC4r6
                L+XWjn9oR7v7MU0SwzbW3s3Wj63E3g+ojm6Do70K8PmA5ANG0rasVME5+N1FWS9RoeKu82lUPzdYZEegmmGZ
                xpTdT5PQXAkDoH0JQSYTs4W/KpOd33Vd2gbweGLhuzTf9SNQbAlZRgoZzZd+6ZHezxx0qNxs+y1ziTALh7Jv
                PK2tWyBnLbvv41ntuZDDfxUz8o8XLCLJHO3oAhQF0QUUxto6XROA3h7UiKXWwzJxkUkwbj5fa++rFJQQyUDo
                JcfqzQIDAQABoAAwDQYJKoZIhvcNAQENBQADggEBAIP00KFVD4XNpqUARVHDtwJXCE2GtTtZxIWDGfRngctf
                7JyVAnidB8im6sMAwtgjk0N+QGfw+GXoT9mvGGYIbkjDK8+5cU5mTS1NRMztzmPysmZU0KcA3+R7kAjS5npi
                9JXAvFpQcDQ+LaOVmo8lQJ2OqI0mAqp5uqr1a+FvNj4rjmLE9PZ8JjcqRZ9r/3UKgCLw8QKm9nk1MeNbnjfr
                O0qO4luiYBMA1OmzmfylqFDeIlLhmKrYoSUMokHR3jZh3dvmo16BFHl8s821VJbU8ybF1PA+XgqIB1Mbqwc4
                AvMhFXHv0lpXiy6Pd86u/6B6m5R4wKkqLsEjdAAU4LYCK6A=
                """
        ),
        Self(
            testDescription: "an RSA-3072 key",
            outcome: .accepted(.rsa(bits: 3072)),
            base64: """
                MIIDVzCCAb8CAQAwEjEQMA4GA1UEAwwHcnNhMzA3MjCCAaIwDQYJKoZIhvcNAQEBBQADggGPADCCAYoCggGB
                AJpCMhjlk1+MVHhE0OS9tdabsM0EUVawb6jHutRW01qUKsB0oyOnU18nAYXSIE1GQDn9BMo7Tc9eS+QGpg/M
                l5Vu1b1mkssX5UyznHmKLAa1Ibwop3q/n6ViErvGlgVPHkApNPeW611wtv67PbQLNndHc5clX2vC94xI3AC5
                jca4diQA3FEOQetUVzci1LTnc62rOeMwEAr4L+ninGcEs8en9OygFotDrwBQn0SLLBwba0gAH0xJbksmCnES
                +pdlYPb8pxEt4sUees6Qgck3ZI0Dvcv+OkNb0x67RanwCbiVF2Rveyaxyp2FFBB9sgZ/US2mt+aFpaG5mUYg
                JWkqTnrG1chAHIWfDMrqRxZn9jTX374WyaqjZcHfLLuhVNVo6IURfeUXsYEgQRVs91i0hcbrj5ZEBbIUnMer
                rhRwOdGXABl/w4+vEoq6N50KD/gTpQRcsXAjZIY6Quyt+58qgbbWRiqPeDuKGM1bNLL5Eqn+aqGMNj75PCrf
                jYNdqpvFNwIDAQABoAAwDQYJKoZIhvcNAQELBQADggGBAAMNHH3pY9DH7ciWUuSNIA2kWoRXJQEuNegsWm5z
                LEjXiFCadB2t9Lpl4zmrAIOZGyBE7RUVbPQX5MY9CbBk3oj9Kh02UMZQRTHObVWZ4kZZ+EhKaUfw7B3kFp/I
                tSf02zPmLcpQM+91Awjr6XcFeRn7uXAjQ4TguNQIItlIAWqqJzhWyAaqs3l3v/9euf8I/XWbDeVPvbvzxKzR
                1f437YLAdTeTEg1m64Y48lH5UJJC/WxacEKMxFW+U2gx7pemNDVOTsTeLDAaD8OF2utGfjqX2NB9imp8JFTA
                uwQy7V/v3bE9Ht+kERgaLfDk2g2VZOj5can/K+aVkQ+Ppm8VQ/j5mkF9EeSGl37rEbn25iyYd6JUfowrk4+7
                SdaJPMkt7UDH/M5z8Z+bZI8iV/FQv00YpENTB2tkj0fWodqH6nTXuPNvcDUWmrkSHWTBRtcAs7W5gWTswd+C
                KTpAbyiSnRmsyCBDwRslKr+y1D+cu9H9hNkejsz5aq2aUfxi7KKIzw==
                """
        ),
        Self(
            testDescription: "an RSA-4096 key",
            outcome: .accepted(.rsa(bits: 4096)),
            base64: """
                MIIEVzCCAj8CAQAwEjEQMA4GA1UEAwwHcnNhNDA5NjCCAiIwDQYJKoZIhvcNAQEBBQADggIPADCCAgoCggIB
                ALq6e2B2de+SI57OhwqfP36bAidJVxzR8s/LkiH0Zk6kEp32DpwOUpQeTw/HjvytayaE1xicr5TFPC+uzSlN
                CMU7hV3W8HykT+RX/HVxAkMRAOTkwcZ+pTQmK0aVqEQSIlgzw4F97F8q3xHG4VNXS9tRvAhCdoL4/+QipO/V
                2/umY9iNwK9hFEdEpm30jpkX4wlm2dEC5Kz0vj7rk98Em7MElOTP1VU5Zu2phBjRIfUwMcSC4jUcnc+9bECN
                3fF8/+uu3yK8j/rNWtqrgrFSVi62gmJJFvQFwj1hNwl11UzxZ3j5bdkS4BuiydW8glt+ptjgiTdciTYmfb+y
                R0JAyyXkUAhO9RPATNpzwWVLQMkvO79t6xgOfdAjCgkbIc/R0PTurPJE9vaVxBmHmlfdgr/qpfoQGVYuFFGI
                ehkTSdIg2NQO/l+tep/ZPRnEdWhJhcmnfLOByhp3gIj9nI2+/J+1wi6RwIKnbfFJqCcaqBJsfZkuJJmGaHe1
                el5HYqolU3zbHFi17BNwQ8/IHODlzaOWao9PaeEldR649+IjWFVWPiZDU36p1j2DnzZYbdq2Uv8AgWbvsR/P
                e21ij87EAE2J/AJFC4oeGNYdTX4Tbxqrdjy0g786q678+Zb7vybOujY2dn156dTE5e/nSEA/33LpmM90k3V1
                sKCa1g7NXivtAgMBAAGgADANBgkqhkiG9w0BAQsFAAOCAgEARmbkqetyQDwehmGP0OgH2Bt7Y2cmL8nvE8+M
                KR+YUySnXHaKlNaounvPPcUlX0jYNYdzQvNHbZI6BqY3Br6DMJlnsZMwHzWX/QfgI3cjxmXxswwybZtS/EIP
                kvQl24W14/VPhwUV71yGT+N0DaD7c45crTrD3ruKpWze2uctd3PAmc5jElUhsbSYmGdxFFrFHRxqi1Tk2x6K
                /MeBAjDyHL0JGYmT799muQGsRc6Pm+vmLgxrdVVS8pKKpoC2czs2gLmc/UwqgFu+41pXj9vG691VcwlsmrX7
                1U3Ccy/dndHaa7RXBNuVy0u7dqxX+jNJybNdE6mrTMjXiXMu54rBvfhNcjcSf2R9WOeH1HNm4y/ChIBw3cCU
                pMc7wB0ybW3Gntkd9YQExVTkBQHm+Pgbm5x1x+TWeV/HM8A5o94jx9P3DpwgonaVuGXCtqZ49xLcG8OdxJyN
                KUMDS7JL0/EMCCNNmyov/YYzsvS3VjtKRi1KVS6Z4wFf2J0Bd4LLNsBIsmCPIFiepNxvd+xRJFwStlSLme2d
                ilwj2tNRXeEMmFvz1Bqf+xIIdH79dwF+l7zIHrznaxhJ29TlDDuTcsWaUs9YzpQyoWul8W6y3MtSjWrVogdH
                4yGvvbO+jtcQg+6NjIVYaBn4KC/+CSY/pZqB5Z86pBLZU5JfZLlBNW2RA48=
                """
        ),
        Self(
            testDescription: "ECDSA with SHA-1",
            outcome: .refused(.signatureAlgorithmUnsupported("1.2.840.10045.4.1")),
            base64: """
                MIHIMHECAQAwDzENMAsGA1UEAwwEc2hhMTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABFngtIgEBOKesyVf
                pyaSvCKeuy9tvaXGlgzqbqSg4cgpJECL+AaXXKd3zgez1jRy7qZWeagB9oFcIYtkUfrWwFmgADAJBgcqhkjO
                PQQBA0gAMEUCIGUmrUxiAnT+Aki4PrMSKucnVcw959llHluvl52mYzRhAiEAi+j1rwRjbQvJh1KzRTWd4BEs
                B2TxnszewxmtAD2VIn4=
                """
        ),
        Self(
            testDescription: "RSA with SHA-1",
            outcome: .refused(.signatureAlgorithmUnsupported("1.2.840.113549.1.1.5")),
            base64: """
                MIICVDCCATwCAQAwDzENMAsGA1UEAwwEc2hhMTCCASIwDQYJKoZIhvcNAQEBBQADggEPADCCAQoCggEBALgQ
                vPxJbrTMM/pVLzC9NWJW/OSJ1mzKknlRbPc9ZMxZ6NLeir/A5Chcm3YVMccMK+L9QnUqnanxG9X0RguK+i/l
                1o5/aEe7+zFNEsM21t7N1o+txN4PqI5ug6O9CvD5gOQDRtK2rFTBOfjdRVkvUaHirvNpVD83WGRHoJphmcaU
                3U+T0FwJA6B9CUEmE7OFvyqTnd91XdoG8Hhi4bs03/UjUGwJWUYKGc2XfumR3s8cdKjcbPstc4kwC4eybzyt
                rVsgZy277+NZ7bmQw38VM/KPFywiyRzt6AIUBdEFFMbaOl0TgN4e1Iil1sMycZFJMG4+X2vvqxSUEMlA6CXH
                6s0CAwEAAaAAMA0GCSqGSIb3DQEBBQUAA4IBAQCh06GKUZmyBR4JjifyoelyO3FfDakNTZkABd0htuRM7ZGG
                mNzw6/Hj3wOi/uevC1QFKYUkFCFNVHnuyxS14dvKk61CSrN7wIk2xdhErLl07Jc9Hu1Uo/6EhI2AJxLbBljN
                iSPCQHYUKa4Q9TyyzPIK1AWgefoQ8mg8M7N1a+SEf6xG/oejDZkLRiCN+NV9zf9LhAE+AyxDLZzUnNgSlOQs
                yZ7PIJs3ra75H+pO1WrKaP6Xr2pKaFhobiE/QIQFoM6IwdKGT8u1oNh1uxUQsV4GUwwi8ghXkdzZdTOE6UWm
                BIvQHjC6P7MI/uYZ/1T6Y9F3m6VgjvlffYfvcHlK8Vri
                """
        ),
        Self(
            testDescription: "RSASSA-PSS over an RSA key",
            outcome: .refused(.signatureAlgorithmUnsupported("1.2.840.113549.1.1.10")),
            base64: """
                MIICiDCCATsCAQAwDjEMMAoGA1UEAwwDcHNzMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAuBC8
                /ElutMwz+lUvML01Ylb85InWbMqSeVFs9z1kzFno0t6Kv8DkKFybdhUxxwwr4v1CdSqdqfEb1fRGC4r6L+XW
                jn9oR7v7MU0SwzbW3s3Wj63E3g+ojm6Do70K8PmA5ANG0rasVME5+N1FWS9RoeKu82lUPzdYZEegmmGZxpTd
                T5PQXAkDoH0JQSYTs4W/KpOd33Vd2gbweGLhuzTf9SNQbAlZRgoZzZd+6ZHezxx0qNxs+y1ziTALh7JvPK2t
                WyBnLbvv41ntuZDDfxUz8o8XLCLJHO3oAhQF0QUUxto6XROA3h7UiKXWwzJxkUkwbj5fa++rFJQQyUDoJcfq
                zQIDAQABoAAwQgYJKoZIhvcNAQEKMDWgDzANBglghkgBZQMEAgEFAKEcMBoGCSqGSIb3DQEBCDANBglghkgB
                ZQMEAgEFAKIEAgIA3gOCAQEAMTpsWdMfEoybBtjGnzrcSpn0RnMCZR7FD9PyPdGmvRV5z0uYxfWcyNSfhgzB
                ZnC3BwnHxuod4+Ns61lturf0HJOHaIWUeMr0nfWPnAyWM8S6X9kKKo2woR/XNSFJI+xDhw0yeXTA1o0BpSUM
                DN4076PI6ZHRidqENAZRUBz08rD+uCCNr5Sjm4Pta1zH3WAXPkEyCtmnxiJFtICQGl2NB6sLojNAt9By14EF
                h2bgcUjpQ8v5zQzhzZ8SSk0bjpE1qqAgX3DrAysIkPwN03zpx/XV5G08NMmld0OgIzkaiP8wGygbbapW4QmG
                b6vYn4iUTitxyUuLT/lKdQQI+SI2oQ==
                """
        ),
        Self(
            testDescription: "an RSASSA-PSS key",
            outcome: .refused(.key(.algorithmUnsupported("1.2.840.113549.1.1.10"))),
            base64: """
                MIICiTCCATwCAQAwETEPMA0GA1UEAwwGcnNhcHNzMIIBIDALBgkqhkiG9w0BAQoDggEPADCCAQoCggEBAKFC
                DDC7ZH0GgCb7CQWfRl3OEf57BE6lO1z8wBv6LYxkkTdB45X+Pr1V1bZvwQ1FlXEC3Ly2sdA43//2pXQ8DzfG
                O/a1f7Mf3GaW04b945qBF25TheVVFZC4DLAVTZSIqpeGlM214cMhK8kH0+UuX79MlsEOaW2ZB4L0IBEHOSdF
                lAB9GON5WoU3PDqJKKL/7Q6JD2uKQkA6/AhtnFjIF8cHimTX0XGmAjMp/+ToQe3Q5BiQaLtbF4CbAIkRzRDT
                KjdcPu9Ww8b5f3uBtS+KbOAjFWvWw95W7Wt1G/QA6A7DepB/l1wAiKoMZNit8o6x3W6PTNuGjCyh8rb24xDC
                Z+MCAwEAAaAAMEIGCSqGSIb3DQEBCjA1oA8wDQYJYIZIAWUDBAIBBQChHDAaBgkqhkiG9w0BAQgwDQYJYIZI
                AWUDBAIBBQCiBAICAN4DggEBAEqVjbLCpefwHoOU1HRj0w/hzIWZRTuL4tsxZvEP0BmO7HX3u6Ikc9n7u/11
                qaVAT1b6RYjiWsc04LTeHwtVw3UfihXedILGvMPbJGNt9LFVURSAmtcMYyvLJwcQruhGRmkcrnJf4QeFHjjV
                0tf8h1pkeWbs8S+PnIqOMzzmAGGVDxgKyagNikgljSOQqnf9C60c+SazwVfYtLL1G+70EC84XF9SuQNYD+R9
                9fWg/cTK+FIdjidkB+W+hBlvsStCQ4C0tifmHi1DuNO6+CFYJMfDtLhcDFq/C96q/7e/kBP89oMqeUqfNA3W
                2281xhgIPTaNkRmBVczPD05gWfDixc4=
                """
        ),
        Self(
            testDescription: "a P-521 key",
            outcome: .refused(.key(.curveUnsupported("1.3.132.0.35"))),
            base64: """
                MIIBUjCBtAIBADAPMQ0wCwYDVQQDDARwNTIxMIGbMBAGByqGSM49AgEGBSuBBAAjA4GGAAQAR2m4je6b0sY4
                D9QoHOjgi3vW0LdZLfnmCsvy+dFd19VS1un6ddEADaMZarxxsKwoo4elTmTHghz/It9LBKEA8fAAyokRICOl
                m+FbXgFe5Phx9eSZL8sOhmWv0N9l8xXuFmiBRKm0Niw86YhH5i2DGVXgWEmgo3Q8Z5pIHJv/ZOq/gzGgADAK
                BggqhkjOPQQDAgOBjAAwgYgCQgE+OT6l9OqRpw7CvUy/Rv2C3hbnJ1vWjVhAvzdXuSt+lr7I/p+VlMjuIlDE
                yRD3yQ25D5iZef4JQreb3DEImi/P2gJCAYy9QvlAgXPZ7q2oosBcasf0/5KJ8bII+5bkOIj5/KsCow8l/aKS
                DVTwsFVgEyb2hAiBcBfWizn3TLwMB9z2gjPY
                """
        ),
        Self(
            testDescription: "a secp256k1 key",
            outcome: .refused(.key(.curveUnsupported("1.3.132.0.10"))),
            base64: """
                MIHGMG4CAQAwDzENMAsGA1UEAwwEazI1NjBWMBAGByqGSM49AgEGBSuBBAAKA0IABFFdrJ3IV+Lv3qm/KYVa
                fpgG4Ryq13ruzyzaYLgOU+aJl7O+UJFcXXlE9qoeB37BGpqD6xIqwqK6v0fQJstbM3ygADAKBggqhkjOPQQD
                AgNIADBFAiB5ulShQCPWpETtnzJDv8RvIIAwZfXVKsjK7iHKO7w3ygIhANcq/Ntd8YuxR7aC9LlsjjUcChOy
                3jLRc796WOB30FNX
                """
        ),
        Self(
            testDescription: "explicit curve parameters",
            outcome: .refused(.key(.curveNotNamed)),
            base64: """
                MIIBwjCCAWkCAQAwEzERMA8GA1UEAwwIZXhwbGljaXQwggFLMIIBAwYHKoZIzj0CATCB9wIBATAsBgcqhkjO
                PQEBAiEA/////wAAAAEAAAAAAAAAAAAAAAD///////////////8wWwQg/////wAAAAEAAAAAAAAAAAAAAAD/
                //////////////wEIFrGNdiqOpPns+u9VXaYhrxlHQawzFOw9jvOPD4n0mBLAxUAxJ02CIbnBJNqZnjhE50m
                t4GffpAEQQRrF9Hy4SxCR/i85uVjpEDydwN9gS3rM6D0oTlF2JjClk/jQuL+Gn+bjufrSnwPnhYrzjNXazFe
                zsu2QGg3v1H1AiEA/////wAAAAD//////////7zm+q2nF56E87nKwvxjJVECAQEDQgAEigx58GGU/R1HdtRV
                FD+fi0hlaNO5hMok9Rhn8KtGykffOxeLHOK+aRldZnmNniOWVb3kRVi6uwPhbr5OuMZ5JKAAMAoGCCqGSM49
                BAMCA0cAMEQCIAHZyZDTaM25iuh9aTRNTs33l1KvWdZlP0iaHd+VKLhxAiAw624PmH3abGEncve7wgnBpz9E
                6gQdgSGxzuvHaADUkA==
                """
        ),
        Self(
            testDescription: "a compressed point",
            outcome: .refused(.key(.pointNotOnCurve)),
            base64: """
                MIGuMFcCAQAwFTETMBEGA1UEAwwKY29tcHJlc3NlZDA5MBMGByqGSM49AgEGCCqGSM49AwEHAyIAAutuj5Iz
                aKc9DZ0/neSvs2aEp5dbnuvM8I9ZHTAR2vgWoAAwCgYIKoZIzj0EAwIDRwAwRAIgKgBWq8mEPNZjbmPgvugp
                fJ6ndNi44EbIxD01QYC7gqQCID1g6I0pDUyTfTGVMGfBfgQpFxjXWhaBhiWFNuYHwVm7
                """
        ),
        Self(
            testDescription: "an Ed25519 key",
            outcome: .refused(.key(.algorithmUnsupported("1.3.101.112"))),
            base64: """
                MIGRMEUCAQAwEjEQMA4GA1UEAwwHZWQyNTUxOTAqMAUGAytlcAMhAL46G0akeql4A7DPOtb2QokQVA+uNJNB
                /FCQ6s4txvemoAAwBQYDK2VwA0EAzpiZh62NmLcHEFgWk/3wSzURQzuSl41V/Gv7UwEByQMlt+hyGqduEX4u
                YiWJ3TeoFj5Zh7UAOhx5aqJWaK8YBw==
                """
        ),
        Self(
            testDescription: "an RSA-1024 key",
            outcome: .refused(.key(.rsaModulusSize(bits: 1024))),
            base64: """
                MIIBUTCBuwIBADASMRAwDgYDVQQDDAdyc2ExMDI0MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQC68kH9
                bdqhd+oZLtk9XlDbDFaxemR82Oqb9pCjR0t58bcGflOvn6Rpq4a/9l7aQdEZc3v+Dt6eyR+/HaviXjWHBAwx
                ryBwVl+bZbT7HaAIKCOqXbENK5jn9zKh8AgRnHlwbjclUZdyh4GkM74IYylKChGzt0I0NgFlqrquqwhQ9QID
                AQABoAAwDQYJKoZIhvcNAQELBQADgYEAlvtkroOpTdbIAH/a3tYXUvGhqWUvTohMd40ZGAvH48CPkr7l4fJn
                EveKS6ApLOltV4GGkWxl8dNApkaPnKBhfkm0U3B/VcFj9fnmWnPjNQeaZLMdpLoVwaW0Wb3oTUdRDpXwjsko
                7G7rzPXRfs+vio2Bt7qQiHmH1q9tVZop6kw=
                """
        ),
        Self(
            testDescription: "an RSA key one bit too short",
            outcome: .refused(.key(.rsaModulusSize(bits: 2047))),
            base64: """
                MIICVjCCAT4CAQAwEjEQMA4GA1UEAwwHcnNhMjA0NzCCASEwDQYJKoZIhvcNAQEBBQADggEOADCCAQkCggEA
                b+CXg7yCwYKZU0ibouJkp2Txd1N7i2fcCOdnY00AisQfOcUaITGE40h2U+USKGurJVh2ELWr4DEsqup06fPG
                7jycb65UueabHoNxOI1d2j9tOozFddGZxAynR3Xc35buLh+u2ZjjXFBFtkbY0kHuJgrvtBVnbwc/TE3fPgfa
                OkoUrgRu1RVNlJDG3h/CRftGtwqS9C6LjUV9wbjJU/CnTEFnsvHmpQueho9P/Nx6hcAtVfqVQcSm0mAhZ18D
                ZTo6TLf+/URsHh8bB5OlZZo3AL4In5XhkaLkK1/jgPoUi1ZbNNB8Xyv6plyWeDb+EYYkiILJHMSGWM1KDCNH
                eLQMhwIDAQABoAAwDQYJKoZIhvcNAQELBQADggEBACwm/ZXNnfkLnsfOfEL98t3XrBmBDX3y/TNezeZO/U/t
                ess2959UqpYeDZBbtz4WrIHESirmtzPR0y9qwDq4JJLsarURMyi3QbICt6x8PYWSFBphIjz+bacfYCPrA077
                4im7VmcheHd3nacXpdubKXOB9GO3gHzm42Md7RDosPB9YwRLiaHOBuINQfMwG59Y0WFeUlrulR+uEUmwACJA
                eOagFHuB716CmH0LXr+tGhJiclA+YfWtBeTWVPYUrrYqzBIJiHt5svIWb/GVq6fy7roO/quRdbvmr4rQqz0U
                OlKshCY18sQH74MJOMa0ydPzyyff1xU1ia3xmrRvcxeAQ0Q=
                """
        ),
        Self(
            testDescription: "an RSA key above 4096 bits",
            outcome: .refused(.key(.rsaModulusSize(bits: 4104))),
            base64: """
                MIIEWTCCAkACAQAwEjEQMA4GA1UEAwwHcnNhNDEwNDCCAiMwDQYJKoZIhvcNAQEBBQADggIQADCCAgsCggIC
                AK3Da2dBrabXkYBmlkc0W346tNWTR67IrVpgHreaYfN2sAdZ25CP+0d7xBGtuqLgR0kqEiMnGl8T65/F7FZv
                BPvGEIyEbgBtLcqX6qgfP/IfygeK9q/lM85xByAhNpQqZofYXEB6BJHlk8DX21gtY6PkQsQFUEFvc2aeqwFj
                f16eLMxnyeynytmBejEpPNOV1BgZmc6JUGEcuwfMkJ0Mhb7Hbag9RVxjRqpdFTdm5dTw8hMYF6yZPit+e7HC
                schCsXtWElaG+4T1OFpSP/VP3amSPWtfknZpiBQdmn4M+9EGMsaItyzyPbWVo82hkjGeAGQM+3o5ZvdPoflr
                Fr757cyYg12eaQXsVBbCrFVr4AlAwUHLxp/Ly0pU69t1SLOyIOiG7RmgMzilds/jYEU83J/0Ww0DdiQL1jmW
                0u52DTeZmiJnWdOlsiVxF6ZMzcy8EzImap4DQ+m7EGtqZWZTM2mhIsacmPby/rdTD69FTsZrWjrVXuDHSVsU
                Tpv2UVaXYkaYoKzHQDvzETLxiIsDIKTu0nFtykwYN9noCzCBVhxMTYGlJ19PxP8DCHJprvIcwJJP5FDSllgo
                AyGMGrg6P8gc3uH7KUHT9cywxfC+X1z+K0OZHL11qW9dBvIU73jFoOrZlr1rRpnNEZnRfFJnFJeMdgfn61J9
                TUXfkw25OYdODQIDAQABoAAwDQYJKoZIhvcNAQELBQADggICADpGf+/J64vpw8OGgVgjPZGFwgKcr4o7mxCF
                4Od3o8YnNXFowTn7kd8zAJlGBNrBvs+4psaHvxTIhh5RpL3I1aNAiDO1y/2vF/lQw3Dk3iEY/Q7hERY5ToF7
                h97oTyJYaRp73CMNxjYBwmD3NmhKNOe/eojdkUJ/OjrwSPSRl+bo7Eqgs4emc9YGUY0+WxqlwqFCHWHfAgv2
                6hBWEhiNmOuCK2vSwgVNTRiMW/g9DHSNDCpp7MHdP8WAGerj1SLiEVA05VzbJsciyg1d3o4yzJoOqF4pf4Bg
                ARb10N6IPE5BDpbrKkzErmVt6tfB8+QEuL5yJUw3FNZbTHbwA+qtnQFRmBnpT4IwMjT5YclZM5Vm/yl1QbUL
                Kf4y40uSSt96/hrc1Pus+klXrivAFqQPYQUIlNUDhsXXuKA7Ls08B4JhYBtVM+x8qMDcwLaH9AE7KRED6Gxm
                CjPizb7ykXEWtAWvZTFpjrNiULJRtHQ5pRAtsyj3dTLYTDeTiqhktCmVROwIi+z6vCQOnBpeKwLBZfO/JXLg
                Oh1PgJVAyfS6Qhb3ehV+tj7JjQZ9KpWEIpISyz1pqgxvWpxvH9EQyOB6+zrEb1VGafub2iA8O084jvp6+G9O
                VlB8+cXQkA1O1tja8pWl9n1tacsm3Xr8MvaWPrratNpHnb2zrcTD46qS7JZsIA==
                """
        ),
        Self(
            testDescription: "an RSA key with exponent 3",
            outcome: .refused(.key(.rsaExponent)),
            base64: """
                MIICUzCCATsCAQAwEDEOMAwGA1UEAwwFcnNhZTMwggEgMA0GCSqGSIb3DQEBAQUAA4IBDQAwggEIAoIBAQCw
                9Srf7cY8Y2vubb9KU7Ss9+HlKSy+W0lfQtAKsCLgoi/NTwSSHRPS4gxfvLmmuMoDwd+wGl4kPe1FL370Wb4c
                pjwZWyc2cH7JKtRLmodXhkJ6cgcVOmu8N4DCBjkUV4ZQDB6IQ/15rzRMNUgfmglDg9YltAMs368lrZIFTe6o
                KzgCbsjZrHQVMGDjyZzPKPBUEeJFu+eZFw9xa2Tqr+JitfWcxaQe5iI3rDQXBBn4jiLXIk6/bWy66/uJpxZP
                603HBtaDijWOls7z43zX6ZhkEJBspKKCt4pt4Ms+yxVaPSaCKKFYkzAFu4aDadeQn9sOOQwl+sZQu9mWAS7Q
                6P05AgEDoAAwDQYJKoZIhvcNAQELBQADggEBAIIDuLufKm8FStyny2pn3GoRSz3GzZ9MFzhIK8NIX4eKLhPy
                9RXPABasRjMwSDff7a8vgtcS9SSP9oF9ILSu7GNoUi6ytj6NQoPXF80zTJLhzVt7moG0pbdJv/bXxNfzUWP7
                olqquc+L6hH1mCdvO1eIoZ3oBjjTu8tW9L3fBle5mnXMcP3dxrBJCxDB1EybUz3N9kM8j297mOsJ7I6RM4eB
                tm0bECl127otTQjR/cQm7aDM7gsYOn1akvrFe9Yk7sTRui3cbnqWYfTCZI50nRk6dxSrBuAAMplD6ui5exr1
                drm2VhLdbXbmsD7a3VH1ytEjCrXZcWI9XGPFeKbqZWs=
                """
        ),
    ]
}
